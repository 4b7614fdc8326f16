#include "harness/run/demo.h"

#include <fstream>

#include "harness/run/damage.h"
#include "harness/run/demo_files.h"
#include "kernels/core/error.h"

namespace mg {

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
  if (damage.empty()) {
    return demo;
  }
  const DamageName& kind = damage_from_name(damage);
  if (kind.in_files) {
    const std::filesystem::path right = demo.merged;
    demo.merged = folder / "broken" / "merged";
    const std::string problem = write_damaged_files(right, kind.damage, demo.merged);
    MG_CHECK(problem.empty(), "every damage can be planted into the demo");
  } else {
    const OpenModel base(demo.base);
    const OpenAdapter adapter(demo.adapter, base);
    write_damaged_merge(base, adapter, kind.damage, demo.merged, pool);
  }
  return demo;
}

}  // namespace mg
