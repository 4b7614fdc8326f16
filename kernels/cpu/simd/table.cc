#include "kernels/cpu/simd/isa.h"
#include "kernels/cpu/simd/tile.h"

#define MG_TEXT_OF(name) #name
#define MG_TEXT(name) MG_TEXT_OF(name)

namespace mg::cpu::MG_ISA {

const KernelTable kTable = {
    .name = MG_TEXT(MG_ISA),
    .tile_rows = kTileRows,
    .tile_cols = kTileCols,
    .gemm_scratch = gemm_scratch,
    .gemm = gemm,
    .attention_scratch = attention_scratch,
    .attention = attention,
    .round = round,
    .add = add,
    .add_scaled = add_scaled,
    .scale = scale,
    .multiply = multiply,
    .rotate = rotate,
    .activation = activation,
    .gated_activation = gated_activation,
    .softcap = softcap,
    .exp_row = exp_row,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .exp = exp_array,
    .tanh = tanh_array,
    .fma = fma_array,
};

}  // namespace mg::cpu::MG_ISA
