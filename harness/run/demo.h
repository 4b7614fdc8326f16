// The demo model inside the program: a trained 1.5M-parameter Llama, an adapter and their merge
// (tests/demo).
#pragma once

#include <filesystem>
#include <string>

#include "harness/io/temporary_folder.h"
#include "kernels/core/parallel.h"

namespace mg {

struct DemoFolders {
  std::filesystem::path base;
  std::filesystem::path adapter;
  std::filesystem::path merged;
};

/// Writes the demo's three folders into `folder`.  A `damage` (damage.h) replaces merged by a
/// broken merge of the same base and adapter.
DemoFolders write_demo(const std::filesystem::path& folder, const std::string& damage,
                       ThreadPool& pool);

}  // namespace mg
