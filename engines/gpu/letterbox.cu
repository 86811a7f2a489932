// Letterbox: a frame of bytes, BGR or as a camera or decoder gives it, becomes a network's input in one pass. Conversion to BGR,
// bilinear resize, padding, channel order, normalisation, layout and number format, written in place. It must equal the CPU's
// conversion (engines/pictures/raw.py) and InputFiller (engines/models/fit.py).
//
// Plain C++ except for the three kernels at the end, so that a host compiler can run the same arithmetic in the tests.
// letterbox.ptx is compiled from this file by tests/engines/gpu/compile_kernels.py; a test compares their hashes.

struct Letterbox {
    int frame_width, frame_height;                 // of the frame, whose rows and planes are contiguous
    int net_width, net_height;                     // of the input
    int left, top, content_width, content_height;  // the rectangle of the input that the frame fills
    float step_x, step_y;                          // frame pixels per network pixel
    float gain[3], bias[3];                        // in the network's channel order: value = pixel * gain + bias
    int pad;                                       // the pixel value of the padding
    int is_rgb;                                    // the network's channel order; otherwise BGR, like the frame
    int is_planar;                                 // NCHW; otherwise NHWC
    int format;                                    // of the frame: Format
    int weights[9], offsets[3], shift;             // of YUV: B, G, R = (weights * (Y, Cb, Cr) + offsets) >> shift
    int least_luma;                                // a smaller Y counts as this
};

enum Format { FORMAT_BGR, FORMAT_BGRX, FORMAT_NV12, FORMAT_I420 };  // FORMATS of raw.py; the address of BGRX divides by 4

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

struct Pixel {
    int bgr[3];
};

// A frame pixel as BGR. Each chroma sample has the two by two pixels that it was taken of, as on the CPU.
__device__ __forceinline__ Pixel load(const unsigned char* frame, const Letterbox& box, int x, int y)
{
    long long at = (long long)y * box.frame_width + x;
    if (box.format == FORMAT_BGR) return {{frame[3 * at], frame[3 * at + 1], frame[3 * at + 2]}};
    if (box.format == FORMAT_BGRX) {
        unsigned int word = ((const unsigned int*)frame)[at];
        return {{(int)(word & 255), (int)(word >> 8 & 255), (int)(word >> 16 & 255)}};
    }
    long long width = (box.frame_width + 1) >> 1, height = (box.frame_height + 1) >> 1;
    const unsigned char* chroma = frame + (long long)box.frame_height * box.frame_width;
    long long cell = (y >> 1) * width + (x >> 1);
    int luma = frame[at], cb, cr;
    if (luma < box.least_luma) luma = box.least_luma;
    if (box.format == FORMAT_NV12) {
        cb = chroma[2 * cell];
        cr = chroma[2 * cell + 1];
    } else {
        cb = chroma[cell];
        cr = chroma[width * height + cell];
    }
    Pixel pixel;
    for (int channel = 0; channel < 3; ++channel) {
        const int* weights = box.weights + 3 * channel;
        int value = weights[0] * luma + weights[1] * cb + weights[2] * cr + box.offsets[channel];
        pixel.bgr[channel] = clamp(value >> box.shift, 256);
    }
    return pixel;
}

// The pixel value 0..255 of one channel at a network pixel, between four frame pixels.
__device__ __forceinline__ float mix(const Pixel taps[4], int weight_x, int weight_y, int channel)
{
    int above = taps[0].bgr[channel] * (ONE - weight_x) + taps[1].bgr[channel] * weight_x;
    int below = taps[2].bgr[channel] * (ONE - weight_x) + taps[3].bgr[channel] * weight_x;
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
        const Pixel taps[4] = {load(frame, box, column.near, row.near), load(frame, box, column.far, row.near),
                               load(frame, box, column.near, row.far), load(frame, box, column.far, row.far)};
        for (int channel = 0; channel < 3; ++channel) bgr[channel] = mix(taps, column.weight, row.weight, channel);
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
