// The images and clips of a suite's prompt, as the batch takes them: patches, grids, positions.
#pragma once

#include <filesystem>
#include <span>

#include "harness/lanes/batch.h"
#include "suites/suite.h"

namespace mg {

/// Gives a suite's chats their images: decoded, resized and cut into patches by the settings of the
/// first of `folders` that has an image processor, and one placeholder id for each token of an
/// image where the chat template wrote one for each image (of prompts with ready-made pixel values
/// too). Throws Error "suite.no-vision", "suite.image-tokens", "image.*".
void prepare_pictures(Suite& suite, const VisionConfig* vision,
                      std::span<const std::filesystem::path> folders);

/// Ids, positions and pictures of a prompt whose ids are known.  `vision`: the model's tower, null
/// where it has none.  Throws Error "suite.no-vision", "suite.image-grid", "suite.pixel-values",
/// "suite.image-tokens", "safetensors.*", each naming the prompt.
PromptContent content_of(const SuitePrompt& prompt, const VisionConfig* vision);

}  // namespace mg
