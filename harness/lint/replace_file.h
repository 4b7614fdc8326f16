// Replaces a file in one step and keeps the old one beside it.
#pragma once

#include <filesystem>
#include <string_view>

namespace mg::lint {

/// Writes `text` to a temporary name beside `path`, flushes it to the device, keeps the old file as
/// NAME.bak (the first old one: a later edit does not overwrite it) and renames.  Throws Error
/// "fix.cannot-write"; `path` is then as it was.
void replace_text(const std::filesystem::path& path, std::string_view text);

/// The same for a file that was written already under a temporary name in the same folder.
void replace_with(const std::filesystem::path& path, const std::filesystem::path& finished);

/// Renames a file into a subfolder of its own folder.
void move_to(const std::filesystem::path& path, std::string_view subfolder);

}  // namespace mg::lint
