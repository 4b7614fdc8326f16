#include "harness/run/demo.h"

#include <cstdlib>
#include <fstream>
#include <system_error>

#include "harness/run/damage.h"
#include "harness/run/demo_files.h"
#include "kernels/core/error.h"

namespace mg {

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "mergegauge-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) {
    throw Error({.code = "file.temporary",
                 .what = "cannot make a temporary folder",
                 .where = pattern,
                 .expected = {},
                 .actual = {},
                 .hint = "set TMPDIR to a folder that can be written to"});
  }
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

DemoFolders write_demo(const std::filesystem::path& folder, const std::string& damage,
                       ThreadPool& pool) {
  for (const EmbeddedFile& file : demo_files()) {
    const std::filesystem::path path = folder / file.path;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream out(path, std::ios::binary);
    out.write(file.begin, file.end - file.begin);
    if (!out) {
      throw Error({.code = "file.write",
                   .what = "cannot write the demo model",
                   .where = path.string(),
                   .expected = {},
                   .actual = {},
                   .hint = "check the free space of the temporary folder"});
    }
  }
  DemoFolders demo{folder / "base", folder / "adapter", folder / "merged"};
  if (!damage.empty()) {
    const Damage kind = damage_from_name(damage);
    const OpenModel base(demo.base);
    const OpenAdapter adapter(demo.adapter, base);
    write_damaged_merge(base, adapter, kind, demo.merged, pool);
  }
  return demo;
}

}  // namespace mg
