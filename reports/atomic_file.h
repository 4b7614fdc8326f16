// A file that is either the old one or the complete new one, whatever happens while it is written.
#pragma once

#include <filesystem>
#include <string_view>

namespace mg {

/// Writes `content` to a temporary file beside `path`, flushes it to the device and renames it over
/// `path`; missing folders are made.  On failure the temporary file is removed, `path` is as it
/// was, and Error "output.cannot-write" is thrown.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace mg
