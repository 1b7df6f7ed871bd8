// The TorchScript graphs of a bundle on LibTorch, in the place of ONNX Runtime: the verbs are the same.
//
// TorchScript is code. Load it only from people you trust; the checks of a bundle find damage, not malice.

#include <ATen/Parallel.h>
#include <torch/script.h>

#include "../programs.hpp"

namespace {

torch::Tensor to_torch(const sdkit::Tensor& tensor) {
    // A view that the graph only reads; `from_blob` asks for a mutable pointer all the same.
    const bool whole = tensor.dtype() == sdkit::DType::uint8;
    const void* data = whole ? static_cast<const void*>(tensor.bytes().data()) : tensor.floats().data();
    return torch::from_blob(const_cast<void*>(data), tensor.shape(), whole ? torch::kUInt8 : torch::kFloat32);
}

sdkit::Tensor from_torch(const torch::Tensor& given) {
    const torch::Tensor tensor = given.to(torch::kCPU, torch::kFloat32).contiguous();
    const float* data = tensor.const_data_ptr<float>();
    return {tensor.sizes().vec(), std::vector<float>(data, data + tensor.numel())};
}

class TorchScriptBackend : public sdkit::Backend {
public:
    TorchScriptBackend(const sdkit::Bundle& bundle, int threads) : graphs_(bundle.manifest().graphs) {
        if (threads > 0) at::set_num_threads(threads);  // of the whole process
        for (const std::string& graph : bundle.manifest().graph_names()) {
            const std::string file = bundle.graph_file(graph, "torchscript").string();
            try {
                modules_[graph] = torch::jit::load(file, torch::kCPU);
            } catch (const c10::Error& error) {
                throw sdkit::BundleError(file + " cannot be loaded by LibTorch: " + error.what_without_backtrace());
            }
            modules_[graph].eval();
        }
    }

    std::string name() const override { return "torchscript"; }

    sdkit::Tensors run(const std::string& graph, const sdkit::Inputs& inputs) const override {
        const torch::InferenceMode no_gradients;
        const sdkit::GraphSpec& spec = graphs_.at(graph);
        std::vector<torch::jit::IValue> arguments;  // by position, in the order of the contract
        for (const std::string& input : spec.inputs) arguments.emplace_back(to_torch(inputs.at(input)));
        torch::jit::Module module = modules_.at(graph);  // another handle of the same module: `forward` is not const
        const torch::jit::IValue result = module.forward(std::move(arguments));
        sdkit::Tensors outputs;
        for (std::size_t i = 0; i < spec.outputs.size(); ++i) {
            const auto& value = result.isTuple() ? result.toTupleRef().elements().at(i) : result;
            outputs.emplace(spec.outputs[i], from_torch(value.toTensor()));
        }
        return outputs;
    }

private:
    std::map<std::string, sdkit::GraphSpec> graphs_;
    std::map<std::string, torch::jit::Module> modules_;
};

}  // namespace

std::unique_ptr<sdkit::Backend> open_backend(const sdkit::Bundle& bundle, const sdkit::Options& options) {
    return std::make_unique<TorchScriptBackend>(bundle, options.threads);
}
