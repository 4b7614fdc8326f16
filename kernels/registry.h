// The backends this build knows, by name.  kernels/registry.cc alone knows which exist.
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

}  // namespace mg
