// The written suites as bytes of the program: "chat/suite.jsonl".  CMake writes the table.  Private
// to suites.
#pragma once

#include <span>

#include "kernels/core/embedded_file.h"

namespace mg {

std::span<const EmbeddedFile> written_files();

}  // namespace mg
