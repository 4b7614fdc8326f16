#include "kernels/contract/arguments.h"

#include "kernels/core/error.h"

namespace mg {

void check_window(const Mat& x) {
  MG_CHECK(x.buffer != nullptr, "a matrix has a buffer");
  MG_CHECK(x.rows >= 0 && x.cols >= 0 && x.offset >= 0, "a matrix has no negative size");
  MG_CHECK(x.rows <= 1 || x.stride >= x.cols, "rows of a matrix do not overlap");
}

void check_same_shape(const Mat& x, const Mat& y) {
  check_window(x);
  check_window(y);
  MG_CHECK(x.rows == y.rows && x.cols == y.cols, "matrices have the same shape");
}

void check_vector(const TensorView& vector, std::int64_t elements) {
  MG_CHECK(is_float(vector.dtype), "a vector has a floating-point dtype");
  MG_CHECK(vector.elements() == elements, "a vector has one element per column");
}

namespace {

void check_matrix(const TensorView& matrix) {
  MG_CHECK(is_float(matrix.dtype), "a weight has a floating-point dtype");
  MG_CHECK(matrix.shape.size() == 2, "a weight has two dimensions");
}

}  // namespace

void check_upload(std::span<const float> values, const Mat& out) {
  check_window(out);
  MG_CHECK(static_cast<std::int64_t>(values.size()) == out.rows * out.cols,
           "as many values as the matrix has elements");
}

void check_gather(const Mat& x, std::span<const std::int32_t> rows, const Mat& out) {
  check_window(x);
  check_window(out);
  MG_CHECK(x.cols == out.cols && static_cast<std::int64_t>(rows.size()) == out.rows,
           "one row index per output row");
  for (const std::int32_t row : rows) {
    MG_CHECK(row >= 0 && row < x.rows, "row index inside the source");
  }
}

void check_scatter(const Mat& x, std::span<const std::int32_t> rows, std::span<const float> factors,
                   const Mat& out) {
  check_window(x);
  check_window(out);
  MG_CHECK(x.cols == out.cols && static_cast<std::int64_t>(rows.size()) == x.rows &&
               factors.size() == rows.size(),
           "one row index and one factor per input row");
  for (const std::int32_t row : rows) {
    MG_CHECK(row >= 0 && row < out.rows, "row index inside the target");
  }
}

void check_embed(const TensorView& table, std::span<const std::int32_t> ids, const Mat& out) {
  check_window(out);
  check_matrix(table);
  MG_CHECK(static_cast<std::int64_t>(ids.size()) == out.rows && table.dim(1) == out.cols,
           "one id per row, as many columns as the table");
  for (const std::int32_t id : ids) {
    MG_CHECK(id >= 0 && id < table.dim(0), "token id inside the table");
  }
}

void check_low_rank_embed(std::span<const std::int32_t> ids, const TensorView& a,
                          const TensorView& b, const Mat& y) {
  check_window(y);
  check_matrix(a);
  check_matrix(b);
  MG_CHECK(a.dim(0) == b.dim(1), "A and B have the same rank");
  MG_CHECK(static_cast<std::int64_t>(ids.size()) == y.rows && b.dim(0) == y.cols,
           "one id per row, as many columns as B has rows");
  for (const std::int32_t id : ids) {
    MG_CHECK(id >= 0 && id < a.dim(1), "token id inside the adapter's table");
  }
}

void check_rms_norm(const Mat& x, const TensorView& weight, std::int64_t groups, const Mat& out) {
  check_same_shape(x, out);
  MG_CHECK(groups > 0 && x.cols % groups == 0, "groups divide the columns");
  check_vector(weight, x.cols / groups);
}

void check_layer_norm(const Mat& x, const TensorView& weight, const TensorView& bias,
                      const Mat& out) {
  check_same_shape(x, out);
  check_vector(weight, x.cols);
  if (!bias.empty()) {
    check_vector(bias, x.cols);
  }
}

void check_linear(const Mat& x, const Weight& weight, const TensorView& bias, const Mat& out) {
  check_window(x);
  check_window(out);
  check_matrix(weight.values);
  MG_CHECK(x.cols == weight.inputs(), "as many columns as the weight has inputs");
  MG_CHECK(out.rows == x.rows && out.cols == weight.outputs(), "output is [T, M]");
  if (!bias.empty()) {
    check_vector(bias, out.cols);
  }
}

void check_low_rank(const Mat& x, const TensorView& a, const TensorView& b, const Mat& y) {
  check_window(x);
  check_window(y);
  check_matrix(a);
  check_matrix(b);
  MG_CHECK(a.dim(0) == b.dim(1), "A and B have the same rank");
  MG_CHECK(x.cols == a.dim(1) && y.cols == b.dim(0) && x.rows == y.rows,
           "x is [T, K] and y is [T, M]");
}

void check_rope(const Mat& cos, const Mat& sin, std::int64_t heads, std::int64_t rotary_dim,
                const Mat& x) {
  check_same_shape(cos, sin);
  check_window(x);
  MG_CHECK(heads > 0 && x.cols % heads == 0, "heads divide the columns");
  MG_CHECK(rotary_dim >= 0 && rotary_dim % 2 == 0 && rotary_dim <= x.cols / heads,
           "rotary_dim is even and fits a head");
  MG_CHECK(cos.rows == x.rows && cos.cols == rotary_dim / 2, "cos and sin are [T, rotary_dim/2]");
}

void check_attention(const Mat& q, const Mat& k, const Mat& v,
                     std::span<const AttentionSegment> segments, const AttentionParams& params,
                     const Mat& out) {
  check_same_shape(q, out);
  check_same_shape(k, v);
  MG_CHECK(params.heads > 0 && params.kv_heads > 0 && params.heads % params.kv_heads == 0,
           "kv_heads divides heads");
  MG_CHECK(params.head_dim > 0 && q.cols == params.heads * params.head_dim &&
               k.cols == params.kv_heads * params.head_dim,
           "q is [T, N*D], k and v are [*, G*D]");
  MG_CHECK(params.window >= 0, "window is not negative");
  MG_CHECK(params.scale > 0 && params.softcap >= 0, "scale is positive, softcap is not negative");
  for (const AttentionSegment& s : segments) {
    MG_CHECK(s.q_begin >= 0 && s.q_len >= 0 && s.q_begin + s.q_len <= q.rows,
             "a segment's queries are rows of q");
    MG_CHECK(s.k_begin >= 0 && s.k_len >= 0 && s.k_begin + s.k_len <= k.rows,
             "a segment's keys are rows of k");
    MG_CHECK(s.q_len == 0 || s.k_len > 0, "a query has a key");
    MG_CHECK(!params.causal || s.k_len >= s.q_len, "a causal query is among its keys");
  }
}

void check_route(const Mat& logits, std::int64_t k) {
  check_window(logits);
  MG_CHECK(k > 0 && k <= logits.cols, "k is between 1 and the number of experts");
}

void check_sweep(const LogitSweep& sweep, std::span<LaneSweep> lanes, std::span<PairSweep> pairs) {
  const std::size_t count = sweep.lanes.size();
  const auto rows = count == 0 ? 0 : static_cast<std::size_t>(sweep.lanes.front().rows);
  MG_CHECK(sweep.vocabulary >= 1 && sweep.vocabulary < INT32_MAX, "a vocabulary has entries");
  for (const Mat& lane : sweep.lanes) {
    check_window(lane);
    MG_CHECK(static_cast<std::size_t>(lane.rows) == rows && lane.cols >= sweep.vocabulary,
             "every lane has the same rows, as long as the vocabulary");
  }
  for (const LanePair& pair : sweep.pairs) {
    const auto lane = [&](int index) {
      return index >= 0 && static_cast<std::size_t>(index) < count;
    };
    MG_CHECK(lane(pair.reference) && lane(pair.subject) && (pair.base < 0 || lane(pair.base)),
             "a pair names lanes that exist");
  }
  MG_CHECK(sweep.next_token.size() == rows, "a next token for each row, or -1");
  for (const std::int32_t next : sweep.next_token) {
    MG_CHECK(next < sweep.vocabulary, "the next token is an entry of the vocabulary");
  }
  MG_CHECK(lanes.size() == count * rows && pairs.size() == sweep.pairs.size() * rows,
           "a place for every row of every lane and pair");
}

void check_squares(const Mat& subject, const Mat& reference,
                   std::span<const std::int32_t> reference_rows, std::span<RowSquares> out) {
  check_window(subject);
  check_window(reference);
  const auto rows = static_cast<std::size_t>(subject.rows);
  MG_CHECK(subject.cols == reference.cols, "rows of one length are compared");
  MG_CHECK(out.size() == rows, "a place for every row");
  MG_CHECK(reference_rows.empty() ? subject.rows <= reference.rows : reference_rows.size() == rows,
           "every row has one beside it");
  for (const std::int32_t row : reference_rows) {
    MG_CHECK(row >= 0 && row < reference.rows, "the row beside it is the reference's");
  }
}

}  // namespace mg
