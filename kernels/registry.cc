#include "kernels/registry.h"

#include <array>

#include "kernels/core/error.h"
#include "kernels/cpu/backend.h"
#include "kernels/reference/backend.h"
#include "kernels/registry_cuda.h"

namespace mg {
namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<Backend> (*make)(const BackendOptions& options);
};

std::unique_ptr<Backend> make_reference(const BackendOptions& options) {
  return std::make_unique<reference::ReferenceBackend>(options.arithmetic);
}

constexpr std::array<Entry, 3> kBackends{{
    {"cpu", cpu::make_cpu_backend},
    {"cuda", make_cuda_backend},
    {"reference", make_reference},
}};

}  // namespace

std::unique_ptr<Backend> make_backend(std::string_view name, const BackendOptions& options) {
  for (const Entry& entry : kBackends) {
    if (entry.name == name) {
      return entry.make(options);
    }
  }
  std::string known;
  for (const Entry& entry : kBackends) {
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw Error({.code = "backend.unknown",
               .what = "there is no backend \"" + std::string(name) + "\"",
               .where = {},
               .expected = "one of " + known,
               .actual = std::string(name),
               .hint = {}},
              ErrorKind::kUsage);
}

BackendChoice choose_backend(std::string_view name, const BackendOptions& options) {
  if (name != "auto") {
    make_backend(name, options);
    return {std::string(name), {}};
  }
  try {
    const BackendInfo info = make_backend("cuda", options)->info();
    return {"cuda", "--backend auto took cuda (" + info.isa + ")"};
  } catch (const Error& error) {
    if (error.parts().code != "backend.unavailable") {
      throw;
    }
    return {"cpu", "--backend auto took the cpu: " + error.parts().what};
  }
}

std::vector<std::string> backend_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kBackends) {
    names.emplace_back(entry.name);
  }
  return names;
}

}  // namespace mg
