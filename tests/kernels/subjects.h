// The backends under test: the reference itself, the cpu backend with every instruction set there
// is, and cuda: on a device, or on the emulated machine where LD_LIBRARY_PATH leads to that library
// (tests/cuda_on_host). Those this machine lacks are listed too, so that a test can say that it
// skips them.
#pragma once

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/registry.h"

namespace mg {

struct Subject {
  std::string backend;
  std::string isa;

  std::string name() const { return isa.empty() ? backend : backend + "_" + isa; }
};

inline void PrintTo(const Subject& subject, std::ostream* out) {
  *out << subject.name();
}

inline std::vector<Subject> subjects() {
  return {{"reference", ""}, {"cpu", "portable"}, {"cpu", "avx2"}, {"cpu", "avx512"}, {"cuda", ""}};
}

/// The backend, or null where this machine cannot run it.
inline std::unique_ptr<Backend> make_subject(const Subject& subject, Arithmetic arithmetic,
                                             ThreadPool& pool) {
  try {
    return make_backend(subject.backend,
                        {.arithmetic = arithmetic, .pool = &pool, .isa = subject.isa});
  } catch (const Error& error) {
    if (error.parts().code == "backend.unavailable") {
      return nullptr;
    }
    throw;
  }
}

}  // namespace mg
