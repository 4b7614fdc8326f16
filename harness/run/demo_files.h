// The demo's files as bytes of the program.  CMake writes the table.
#pragma once

#include <span>

#include "kernels/core/embedded_file.h"

namespace mg {

std::span<const EmbeddedFile> demo_files();

}  // namespace mg
