// The backends this build knows, by name.  kernels/registry.cc alone knows which exist; that of
// CUDA is a library loaded when it is asked for (registry_cuda.h), so that the program starts on a
// machine with neither driver nor toolkit.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/backend.h"
#include "kernels/core/parallel.h"

namespace mg {

/// Throws Error "backend.unknown" listing those known, "backend.unavailable" when this machine
/// cannot run it.
std::unique_ptr<Backend> make_backend(std::string_view name, const BackendOptions& options);

std::vector<std::string> backend_names();

/// What "auto" came to.
struct BackendChoice {
  std::string name;
  std::string why;  // "auto" only: in one sentence
};

/// "auto" is cuda where that can run and cpu elsewhere; another name is itself, tried out: throws
/// what make_backend() would throw.
BackendChoice choose_backend(std::string_view name, const BackendOptions& options);

}  // namespace mg
