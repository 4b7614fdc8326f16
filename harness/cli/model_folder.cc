#include "harness/cli/model_folder.h"

#include "kernels/core/error.h"

namespace mg {

void require_model_folder(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) {
    throw Error({.code = "file.not-a-folder",
                 .what = "the model is not a folder",
                 .where = path.string(),
                 .expected = "a folder as save_pretrained writes it",
                 .actual = std::filesystem::exists(path) ? "another kind of file" : "nothing",
                 .hint = {}});
  }
}

}  // namespace mg
