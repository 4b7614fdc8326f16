// The edits that touch weight files: renamed, dropped and added tensors, a header's format.  Tensor
// bytes are copied and compared after writing, never computed.
#pragma once

#include <string>
#include <vector>

#include "harness/lint/context.h"
#include "harness/lint/edit.h"

namespace mg::lint {

/// Whether the edit changes a weight file.
bool is_weight_edit(const Edit& edit);

/// Carries out the weight edits among `edits`.  Files are written whole beside the old ones; one
/// rename (of the file, or of the index that names the new shards) switches from the old model to
/// the new one.  Throws Error "fix.*".
void edit_weights(const Context& context, const std::vector<Edit>& edits);

/// Carries out the renames in the adapter's file.  Throws Error "fix.*".
void rename_pairs(const Context& context, const std::vector<Edit>& edits);

/// The text of an index over these tensors; other metadata of an old index is kept.
std::string index_text(const std::vector<HeaderTensor>& tensors, const nlohmann::json* old_index);

}  // namespace mg::lint
