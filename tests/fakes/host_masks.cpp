// engines/gpu/masks.cu on a CPU: what CUDA gives its code, given by plain C++, and a launch that runs the threads one by one.
// host_masks.py compiles it. A block is run twice: each thread up to the barrier first, and then each from its start to its end.

#include <cmath>
#include <cstdint>
#include <cstring>

#define __device__
#define __global__
#define __forceinline__ inline
#define __shared__ static thread_local
#define __syncthreads() do { if (is_before_barrier) return; } while (0)

namespace {

struct Index {
    unsigned int x, y;
};
thread_local Index gridDim, blockIdx, blockDim, threadIdx;
thread_local bool is_before_barrier;

// As cvt.f32.f16.
float host_single(unsigned short half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 0x1fu, rest = half & 0x3ffu;
    if (exponent == 0) return std::ldexp((float)rest, -24) * (sign ? -1.0f : 1.0f);
    uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23) | rest << 13;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace

#include "masks.cu"

template <typename Kernel>
static void run(Kernel kernel, bool has_barrier)
{
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
            for (int pass = has_barrier ? 0 : 1; pass < 2; ++pass) {
                is_before_barrier = pass == 0;
                for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y)
                    for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) kernel();
            }
}

static MaskMap unpacked(const void* bytes)
{
    MaskMap map;
    std::memcpy(&map, bytes, sizeof map);
    return map;
}

extern "C" void cells(int is_half, const void* output, const Cut* cuts, const float* coefficients, float* cells, unsigned int* fault,
                      const void* params, unsigned int grid_x, unsigned int grid_y, unsigned int block_x)
{
    MaskMap map = unpacked(params);
    gridDim = {grid_x, grid_y};
    blockDim = {block_x, 1};
    if (is_half)
        run([&] { mask_cells_float16((const Half*)output, cuts, coefficients, cells, fault, map); }, false);
    else
        run([&] { mask_cells_float32((const float*)output, cuts, coefficients, cells, fault, map); }, false);
}

extern "C" void labels(const Cut* cuts, const float* cells, unsigned char* labels, const void* params, unsigned int grid_x,
                       unsigned int grid_y, unsigned int block_x, unsigned int block_y)
{
    MaskMap map = unpacked(params);
    gridDim = {grid_x, grid_y};
    blockDim = {block_x, block_y};
    run([&] { mask_labels(cuts, cells, labels, map); }, true);
}

extern "C" void singles(const unsigned short* halves, float* values, long long count)
{
    for (long long i = 0; i < count; ++i) values[i] = host_single(halves[i]);
}
