// Puts text beside the token ids of evidence, so that a person can read it.
#pragma once

#include "harness/io/tokenizer/tokenizer.h"
#include "harness/lanes/batch.h"
#include "harness/result/comparison.h"

namespace mg {

/// Fills the texts of every evidence card: the tokens before its position, the given next token,
/// and each lane's most likely ones.  Ids without a meaning stay without text.
void add_token_texts(const Tokenizer& tokenizer, const Batch& batch, Comparison& comparison);

}  // namespace mg
