// Letterbox: a BGR frame of bytes becomes a network's input in one pass. Bilinear resize, padding, channel order, normalisation,
// layout and number format, written in place. It must equal the CPU's InputFiller in engines/models/fit.py.
//
// Plain C++ except for the three kernels at the end, so that a host compiler can run the same arithmetic in the tests.
// letterbox.ptx is compiled from this file by tests/engines/gpu/compile_kernels.py; a test compares their hashes.

struct Letterbox {
    int frame_width, frame_height;                 // of the frame, whose rows are contiguous
    int net_width, net_height;                     // of the input
    int left, top, content_width, content_height;  // the rectangle of the input that the frame fills
    float step_x, step_y;                          // frame pixels per network pixel
    float gain[3], bias[3];                        // in the network's channel order: value = pixel * gain + bias
    int pad;                                       // the pixel value of the padding
    int is_rgb;                                    // the network's channel order; otherwise BGR, like the frame
    int is_planar;                                 // NCHW; otherwise NHWC
};

// Weights have 11 bits and the sums below are truncated as in cv2.resize (INTER_LINEAR, bytes), so that CPU and GPU give a network the
// same input. The only difference is the last digit of positions, which are doubles in OpenCV.
const int ONE = 1 << 11;

struct Sample {  // the position of a network pixel between two frame pixels, along one axis
    int near, far;
    int weight;  // of the far pixel, 0..ONE; the near one has the rest
};

__device__ __forceinline__ int clamp(int index, int length) { return index < 0 ? 0 : index < length ? index : length - 1; }

__device__ __forceinline__ Sample sample_axis(int index, float step, int length)
{
    float at = fmaf((float)index + 0.5f, step, -0.5f);
    float floor_at = floorf(at);
    return {clamp((int)floor_at, length), clamp((int)floor_at + 1, length), (int)rintf((at - floor_at) * (float)ONE)};
}

// The pixel value 0..255 of one channel at a network pixel.
__device__ __forceinline__ float mix(const unsigned char* upper, const unsigned char* lower, Sample x, int weight_y, int channel)
{
    int near = 3 * x.near + channel, far = 3 * x.far + channel;
    int above = upper[near] * (ONE - x.weight) + upper[far] * x.weight;
    int below = lower[near] * (ONE - x.weight) + lower[far] * x.weight;
    return (float)((((ONE - weight_y) * (above >> 4) >> 16) + (weight_y * (below >> 4) >> 16) + 2) >> 2);
}

__device__ __forceinline__ void store(float* target, float value) { *target = value; }

__device__ __forceinline__ void store(unsigned char* target, float value)
{
    *target = (unsigned char)fminf(fmaxf(floorf(value + 0.5f), 0.0f), 255.0f);
}

struct Half {
    unsigned short bits;
};

__device__ __forceinline__ void store(Half* target, float value)
{
    unsigned short bits;
#ifdef __CUDA_ARCH__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
    bits = host_half(value);  // defined by the host program
#endif
    target->bits = bits;
}

template <typename Number>
__device__ __forceinline__ void letterbox_pixel(const unsigned char* frame, Number* input, const Letterbox& box, int x, int y)
{
    if (x >= box.net_width || y >= box.net_height) return;
    int inside_x = x - box.left, inside_y = y - box.top;
    bool is_content = inside_x >= 0 && inside_x < box.content_width && inside_y >= 0 && inside_y < box.content_height;
    float bgr[3] = {(float)box.pad, (float)box.pad, (float)box.pad};
    if (is_content) {
        Sample column = sample_axis(inside_x, box.step_x, box.frame_width);
        Sample row = sample_axis(inside_y, box.step_y, box.frame_height);
        const unsigned char* upper = frame + (long long)row.near * box.frame_width * 3;
        const unsigned char* lower = frame + (long long)row.far * box.frame_width * 3;
        for (int channel = 0; channel < 3; ++channel) bgr[channel] = mix(upper, lower, column, row.weight, channel);
    }
    long long pixel = (long long)y * box.net_width + x, pixels = (long long)box.net_height * box.net_width;
    for (int channel = 0; channel < 3; ++channel) {
        float value = fmaf(bgr[box.is_rgb ? 2 - channel : channel], box.gain[channel], box.bias[channel]);
        store(input + (box.is_planar ? channel * pixels + pixel : pixel * 3 + channel), value);
    }
}

#define LETTERBOX_KERNEL(name, Number)                                                                               \
    extern "C" __global__ void name(const unsigned char* frame, Number* input, Letterbox box)                         \
    {                                                                                                                 \
        letterbox_pixel(frame, input, box, blockIdx.x* blockDim.x + threadIdx.x, blockIdx.y* blockDim.y + threadIdx.y); \
    }

LETTERBOX_KERNEL(letterbox_float32, float)
LETTERBOX_KERNEL(letterbox_float16, Half)
LETTERBOX_KERNEL(letterbox_uint8, unsigned char)

extern "C" __device__ unsigned int letterbox_bytes = sizeof(Letterbox);  // asserted by letterbox.py before the first launch
