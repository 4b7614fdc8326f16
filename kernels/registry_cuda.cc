#include "kernels/registry_cuda.h"

#include <dlfcn.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/cuda/plugin.h"

namespace mg {
namespace {

[[noreturn]] void unavailable(std::string what, std::string where, std::string expected,
                              std::string actual) {
  throw Error({.code = "backend.unavailable",
               .what = std::move(what),
               .where = std::move(where),
               .expected = std::move(expected),
               .actual = std::move(actual),
               .hint = "--backend cpu runs everywhere; --backend auto takes it by itself"},
              ErrorKind::kInternal);
}

std::string last_error() {
  const char* text = dlerror();
  return text == nullptr ? "" : text;
}

std::vector<std::filesystem::path> places() {
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  std::vector<std::filesystem::path> all;
  if (!program.empty()) {
    all.push_back(program / cuda::kLibrary);
    all.push_back(program.parent_path() / "lib" / "mergegauge" / cuda::kLibrary);
  }
  return all;
}

void* open_library() {
  for (const std::filesystem::path& place : places()) {
    if (std::error_code ignored; !std::filesystem::exists(place, ignored)) {
      continue;
    }
    if (void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      return library;
    }
    // It is here but cannot be loaded: cuBLAS is missing, most often.
    unavailable("the CUDA backend cannot be loaded", place.string(), {}, last_error());
  }
  if (void* library = dlopen(cuda::kLibrary, RTLD_NOW | RTLD_LOCAL)) {
    return library;
  }
  unavailable("this installation has no CUDA backend", cuda::kLibrary,
              "a build with the CUDA Toolkit (cmake -DMERGEGAUGE_CUDA=ON)", last_error());
}

template <typename Function>
Function* find(void* library, const char* symbol) {
  auto* found = reinterpret_cast<Function*>(dlsym(library, symbol));
  if (found == nullptr) {
    unavailable("the CUDA backend's library is not of this program", cuda::kLibrary, symbol,
                last_error());
  }
  return found;
}

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options) {
  void* library = open_library();  // stays loaded: its code is in use as long as a backend lives
  const char* stamp = find<cuda::StampFunction>(library, cuda::kStampSymbol)();
  if (std::strcmp(stamp, cuda::kStamp) != 0) {
    unavailable("the CUDA backend's library is of another version", cuda::kLibrary, cuda::kStamp,
                stamp);
  }
  return std::unique_ptr<Backend>(find<cuda::MakeFunction>(library, cuda::kMakeSymbol)(options));
}

}  // namespace mg
