#include "harness/io/temporary_folder.h"

#include <cstdlib>
#include <string>
#include <system_error>

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

}  // namespace mg
