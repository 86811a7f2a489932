// engines/gpu/letterbox.cu on a CPU: what CUDA gives its code, given by plain C++, and a launch that runs the threads one by one.
// host_kernels.py compiles it. No contraction: each fused multiply-add of the .cu is written out, so no other may appear.

#include <cmath>
#include <cstdint>
#include <cstring>

#define __device__
#define __global__
#define __forceinline__ inline

namespace {

struct Index {
    unsigned int x, y;
};
thread_local Index gridDim, blockIdx, blockDim, threadIdx;

// As cvt.rn.f16.f32: to the nearest, ties to even, denormals kept, too large becomes infinity, every NaN 0x7fff.
unsigned short host_half(float value)
{
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) return 0x7fff;
    if (size >= 0x477ff000u) return (unsigned short)(sign | 0x7c00u);  // 65520, half way to what would be the next
    if (size < 0x38800000u) {  // below 2^-14: next to 0.5 a float's last digit is 2^-24, a denormal half's, so adding rounds
        float shifted = std::fabs(value) + 0.5f;
        std::memcpy(&size, &shifted, sizeof size);
        return (unsigned short)(sign | (size - 0x3f000000u));
    }
    size += 0x0fffu + (size >> 13 & 1u);
    return (unsigned short)(sign | (size - 0x38000000u) >> 13);
}

}  // namespace

#include "letterbox.cu"

template <typename Number>
static void run(void (*kernel)(const unsigned char*, Number*, Letterbox), const void* frame, void* input, const void* params)
{
    Letterbox box;
    std::memcpy(&box, params, sizeof box);
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
            for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y)
                for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x)
                    kernel((const unsigned char*)frame, (Number*)input, box);
}

// 0, or 1 where there is no kernel of that name.
extern "C" int launch(const char* name, const void* frame, void* input, const void* params, unsigned int grid_x,
                      unsigned int grid_y, unsigned int block_x, unsigned int block_y)
{
    gridDim = {grid_x, grid_y};
    blockDim = {block_x, block_y};
    if (!std::strcmp(name, "letterbox_float32"))
        run(letterbox_float32, frame, input, params);
    else if (!std::strcmp(name, "letterbox_float16"))
        run(letterbox_float16, frame, input, params);
    else if (!std::strcmp(name, "letterbox_uint8"))
        run(letterbox_uint8, frame, input, params);
    else
        return 1;
    return 0;
}

extern "C" void halves(const float* values, unsigned short* bits, long long count)
{
    for (long long i = 0; i < count; ++i) bits[i] = host_half(values[i]);
}
