// What the commands on one folder ask of their argument before they look inside.
#pragma once

#include <filesystem>

namespace mg {

/// Throws Error "file.not-a-folder".
void require_model_folder(const std::filesystem::path& path);

}  // namespace mg
