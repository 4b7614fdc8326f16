// Unicode normalisation forms as the reference library applies them: utf8proc's, minus what is
// newer than the reference's tables (normaliser_strangers).  Tested in
// tests/tokenizer.
#pragma once

#include "harness/io/tokenizer/aligned_text.h"

namespace mg {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

void apply_form(AlignedText& text, UnicodeForm form);

/// Characters that NFC never changes, moves or joins, whatever stands around them: a fast answer
/// for most text.
bool is_nfc_inert(char32_t c);

}  // namespace mg
