// Loads the CUDA backend's shared library.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace mg {

/// Looks for libmergegauge_cuda.so beside the program, in ../lib/mergegauge from there, then where
/// the dynamic linker looks.  Throws Error "backend.unavailable" where it, the driver or a device
/// is missing.
std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options);

}  // namespace mg
