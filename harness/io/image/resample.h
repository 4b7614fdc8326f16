// Bicubic resampling with antialiasing, to the bit as Pillow's Image.resize(BICUBIC) of an 8-bit
// RGB image (src/libImaging/Resample.c): coefficients in double, then fixed point of 22 bits;
// rounded to 8 bits between the passes over width and height.
#pragma once

#include "harness/io/image/image.h"

namespace mg {

/// width and height at least 1.
Image resample_bicubic(const Image& image, std::int64_t width, std::int64_t height);

}  // namespace mg
