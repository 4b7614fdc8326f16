// What tensors merged ought to have, and how it departs from that, sorted into the stories of the
// catalogue.  From the architecture table where it knows the model, else from the base's headers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/lint/context.h"

namespace mg::lint {

enum class Departure : std::uint8_t {
  kMissing,     // asked for and absent (F16)
  kShape,       // another shape (F16)
  kUnexpected,  // nobody asks for it (F16)
  kVision,      // a vision tensor of a text model, or a vision tower that is absent (F16)
  kHead,        // lm_head absent (F60)
  kVocabulary,  // rows of the embedding or head (F36)
  kExperts,     // an expert's tensors (F25)
  kKvShared,    // k and v of a layer that shares them (F12)
  kAuxiliary,   // of the base, outside its layers: mtp.* (F11)
};

struct DepartedTensor {
  Departure kind = Departure::kMissing;
  std::string name;  // as stored, or as expected where it is absent
  std::string expected;
  std::string actual;
  std::uint64_t bytes = 0;  // of an absent tensor
  const HeaderTensor* in_base = nullptr;
};

/// What is stored in the adapter's folder under a trainer's name for weights trained beside the
/// pairs: LLaVA's non_lora_trainables, mm_projector (F10).
std::vector<HeaderTensor> tensors_trained_beside(const Context& context);
bool is_trained_beside(std::string_view file);

/// Everything that departs; empty where it cannot be known (files do not close, names are wrapped,
/// or the architecture is unknown and there is no base).
std::vector<DepartedTensor> departures(const Context& context);

/// Whether config.json announces a vision or audio part.
bool is_multimodal(const ModelFolder& model);

/// Whether the name is that of the output head or of the token embedding, in canonical form.
bool is_head(std::string_view canonical);
bool is_embedding(std::string_view canonical);

}  // namespace mg::lint
