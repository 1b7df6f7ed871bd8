#include "programs.hpp"

std::unique_ptr<sdkit::Backend> open_backend(const sdkit::Bundle& bundle, const sdkit::Options& options) {
    return sdkit::onnx_backend(bundle, options);
}
