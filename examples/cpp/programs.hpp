// What the programs share. Which file is linked decides what runs the graphs: onnx.cpp or torch/torchscript.cpp.
#pragma once

#include <exception>
#include <functional>
#include <iostream>
#include <memory>

#include "sdkit.hpp"

// Opens what runs a bundle's graphs.
std::unique_ptr<sdkit::Backend> open_backend(const sdkit::Bundle& bundle, const sdkit::Options& options);

inline sdkit::Runtime open_runtime(const std::filesystem::path& path, const sdkit::Options& options) {
    sdkit::Bundle bundle = sdkit::Bundle::open(path);
    auto backend = open_backend(bundle, options);
    return {std::move(bundle), std::move(backend), options.batch_size};
}

// Runs a program; an error is one line, and the exit status is 2 as of `sdkit`'s commands.
inline int guarded(const std::function<int()>& program) {
    try {
        return program();
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << '\n';
        return 2;
    }
}
