// Masks: boxes and mask coefficients, worked out on the CPU, become one label map; prototypes and mask logits never leave the GPU.
// `mask_cells` mixes the cells under each box, `mask_labels` upsamples them and gives each pixel the first object that covers it.
// They must equal the CPU's engines/decoding/masks.py, which upsamples with cv2.resize (INTER_LINEAR, float32, as OpenCV 4.10 and 5.0
// have it on x86-64).
//
// Plain C++ except for the kernels at the end, so that a host compiler can run the same arithmetic in the tests.
// masks.ptx is compiled from this file by tests/engines/gpu/compile_kernels.py; a test compares their hashes.

struct Cut {                                 // one object, in the order of their scores
    int x0, y0, x1, y1;                      // its box on the label map
    int cell_x, cell_y, cells_w, cells_h;    // the cells under it, and one around
    int width, height;                       // the size in map pixels to which these are upsampled
    int shift_x, shift_y;                    // where the box begins in that
    int plane;                               // of the output, if each object has a plane of its own
    int offset;                              // of its cells in `cells`
};

struct MaskMap {
    int objects;                  // at most 256
    int mixed;                    // planes to mix with an object's coefficients; 0: its own plane as it is
    int grid_width, grid_height;  // of a plane, in cells
    int width, height;            // of the label map
    int first;                    // label of the first object, less one
    int adds;                     // pixels that have a label keep it
    int ticket;                   // written to `fault` where a cell is not a finite number
};

const int MOST_OBJECTS = 256;

struct Half {
    unsigned short bits;
};

__device__ __forceinline__ float single(const float* number) { return *number; }

__device__ __forceinline__ float single(const Half* number)
{
#ifdef __CUDA_ARCH__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(number->bits));
    return value;
#else
    return host_single(number->bits);  // defined by the host program
#endif
}

template <typename Number>
__device__ __forceinline__ void mix_cell(const Number* output, const Cut* cuts, const float* coefficients, float* cells,
                                         unsigned int* fault, const MaskMap& map, int object, int cell)
{
    const Cut cut = cuts[object];
    if (cell >= cut.cells_w * cut.cells_h) return;
    long long plane = (long long)map.grid_height * map.grid_width;
    const Number* place = output + (long long)(cut.cell_y + cell / cut.cells_w) * map.grid_width + cut.cell_x + cell % cut.cells_w;
    float sum = 0.0f;
    if (map.mixed) {
        const float* shares = coefficients + object * map.mixed;
        for (int number = 0; number < map.mixed; ++number) sum = fmaf(shares[number], single(place + number * plane), sum);
    } else {
        sum = single(place + cut.plane * plane);
    }
    cells[cut.offset + cell] = sum;
    if (!(fabsf(sum) <= 3.402823466e38f)) *fault = map.ticket;  // whoever writes it writes the same
}

struct Place {  // a map pixel between two cells, along one axis
    int near, far;
    float share;  // of the far one
};

// (pixel + 1/2) * cells / pixels - 1/2, as a fraction of whole numbers: exact, where the CPU takes doubles.
__device__ __forceinline__ Place place_of(int pixel, int pixels, int cells)
{
    int over = 2 * pixels, at = (2 * pixel + 1) * cells - pixels;
    if (at < 0) return {0, 0, 0.0f};
    int near = at / over;
    if (near >= cells - 1) return {cells - 1, cells - 1, 0.0f};
    return {near, near + 1, (float)(at - near * over) / (float)over};
}

// Rows first, each difference multiplied and added in one rounding: cv2.resize's order.
__device__ __forceinline__ float logit_at(const Cut& cut, const float* cells, int x, int y)
{
    Place column = place_of(x - cut.x0 + cut.shift_x, cut.width, cut.cells_w);
    Place row = place_of(y - cut.y0 + cut.shift_y, cut.height, cut.cells_h);
    const float* upper = cells + cut.offset + row.near * cut.cells_w;
    const float* lower = cells + cut.offset + row.far * cut.cells_w;
    float above = fmaf(upper[column.far] - upper[column.near], column.share, upper[column.near]);
    float below = fmaf(lower[column.far] - lower[column.near], column.share, lower[column.near]);
    return fmaf(below - above, row.share, above);
}

__device__ __forceinline__ bool overlaps(const Cut& cut, int x, int y, int width, int height)
{
    return cut.x0 < x + width && x < cut.x1 && cut.y0 < y + height && y < cut.y1;
}

// seen: a byte for each object, four to a word, that is not 0 if its box touches this pixel's tile.
__device__ __forceinline__ void label_pixel(const Cut* cuts, const float* cells, unsigned char* labels, const MaskMap& map,
                                            const unsigned int* seen, int x, int y)
{
    if (x >= map.width || y >= map.height) return;
    unsigned char* label = labels + (long long)y * map.width + x;
    if (map.adds && *label) return;
    int found = 0;
    for (int four = 0; 4 * four < map.objects && !found; ++four) {
        if (!seen[four]) continue;
        for (int object = 4 * four; object < 4 * four + 4 && !found; ++object) {
            if (!((const unsigned char*)seen)[object]) continue;
            const Cut& cut = cuts[object];
            if (overlaps(cut, x, y, 1, 1) && logit_at(cut, cells, x, y) > 0.0f) found = map.first + object + 1;
        }
    }
    *label = (unsigned char)found;
}

#define MASK_CELLS_KERNEL(name, Number)                                                                              \
    extern "C" __global__ void name(const Number* output, const Cut* cuts, const float* coefficients, float* cells,  \
                                    unsigned int* fault, MaskMap map)                                                \
    {                                                                                                                \
        int cell = blockIdx.x * blockDim.x + threadIdx.x;                                                            \
        mix_cell(output, cuts, coefficients, cells, fault, map, blockIdx.y, cell);                                   \
    }

MASK_CELLS_KERNEL(mask_cells_float32, float)
MASK_CELLS_KERNEL(mask_cells_float16, Half)

// A block has at least MOST_OBJECTS threads: each looks whether one object's box touches the block's tile.
extern "C" __global__ void mask_labels(const Cut* cuts, const float* cells, unsigned char* labels, MaskMap map)
{
    __shared__ unsigned int seen[MOST_OBJECTS / 4];
    int left = blockIdx.x * blockDim.x, top = blockIdx.y * blockDim.y, object = threadIdx.y * blockDim.x + threadIdx.x;
    if (object < MOST_OBJECTS)
        ((unsigned char*)seen)[object] = object < map.objects && overlaps(cuts[object], left, top, blockDim.x, blockDim.y);
    __syncthreads();
    label_pixel(cuts, cells, labels, map, seen, left + threadIdx.x, top + threadIdx.y);
}

extern "C" __device__ unsigned int mask_cut_bytes = sizeof(Cut);  // both asserted by masks.py before the first launch
extern "C" __device__ unsigned int mask_map_bytes = sizeof(MaskMap);
