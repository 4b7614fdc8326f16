// What the program looks up in the shared library of the CUDA backend.  The two are built together
// and share C++ types: a library of another build is refused by its stamp.
#pragma once

#include "kernels/backend.h"

namespace mg::cuda {

constexpr const char* kLibrary = "libmergegauge_cuda.so";
constexpr const char* kStampSymbol = "mergegauge_cuda_stamp";
constexpr const char* kMakeSymbol = "mergegauge_cuda_make";

/// Changes with kernels/backend.h and everything it names.
constexpr const char* kStamp = "mergegauge cuda backend, interface 5";

using StampFunction = const char*();
/// The caller owns the result.  Throws Error as kernels/registry.h says.
using MakeFunction = Backend*(const BackendOptions& options);

}  // namespace mg::cuda
