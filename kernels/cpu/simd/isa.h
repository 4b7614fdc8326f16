// The functions of one instruction set, as table.cc collects them; comments in table.h.
#pragma once

#include "kernels/cpu/simd/table.h"

#ifndef MG_ISA
#error "compiled once per instruction set with MG_ISA naming it (kernels/CMakeLists.txt)"
#endif

namespace mg::cpu::MG_ISA {

extern const KernelTable kTable;

std::int64_t gemm_scratch(std::int64_t rows);
void gemm(const GemmBlock& block);

std::int64_t attention_scratch(std::int64_t queries, std::int64_t heads, std::int64_t head_dim);
void attention(const AttentionBlock& block);

void round(Rounding rounding, float* x, std::int64_t n);
void add(Rounding rounding, const float* x, float* y, std::int64_t n);
void add_scaled(Rounding rounding, float factor, const float* x, float* y, std::int64_t n);
void scale(Rounding rounding, float factor, const float* x, float* out, std::int64_t n);
void multiply(Rounding rounding, const float* factors, float* y, std::int64_t n);
void rotate(Rounding rounding, const float* cos, const float* sin, float* x1, float* x2,
            std::int64_t n);

void activation(Rounding rounding, Activation kind, float* x, std::int64_t n);
void gated_activation(Rounding rounding, Activation kind, const float* gate, const float* up,
                      float* out, std::int64_t n);
void softcap(Rounding rounding, float cap, float* x, std::int64_t n);
float exp_row(const float* x, float* out, std::int64_t n);

void rms_norm(Rounding rounding, bool round_normal, const float* x, const float* gain, double eps,
              float* out, std::int64_t n);
void layer_norm(Rounding rounding, const float* x, const float* gain, const float* shift,
                double eps, float* out, std::int64_t n);

void exp_array(const float* x, float* out, std::int64_t n);
void tanh_array(const float* x, float* out, std::int64_t n);
void fma_array(const float* a, const float* b, const float* c, float* out, std::int64_t n);

}  // namespace mg::cpu::MG_ISA
