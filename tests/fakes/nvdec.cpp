// Stand-ins for NVIDIA's driver as FFmpeg sees it: libcuda.so.1 (with -DCUDA) and libnvcuvid.so.1. FFmpeg's own code of its
// NVDEC path runs over them: surfaces, mapping, copies, the order of pictures, errors. The n-th picture that is decoded is the
// n-th of a file of NV12 pictures that the test gives, in decoding order. Device memory is host memory.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

template <class T> static T at(const void *from, size_t offset) {
    T value;
    memcpy(&value, (const char *)from + offset, sizeof value);
    return value;
}

extern "C" {
using Status = int;
enum { OK = 0, INVALID = 1, NO_DEVICE = 100, INVALID_CONTEXT = 201, UNKNOWN = 999 };

#ifdef CUDA

static int devices = 1, contexts = 0, allocations = 0, mistakes = 0;
static thread_local std::vector<void *> stack;

void fake_devices(int count) { devices = count; }
// Contexts and allocations that live, calls without a context, contexts that are left on this thread's stack.
void fake_alive(int *found) { found[0] = contexts, found[1] = allocations, found[2] = mistakes, found[3] = stack.size(); }
static Status checked() { return stack.empty() ? (++mistakes, INVALID_CONTEXT) : OK; }

Status cuInit(unsigned) { return devices ? OK : NO_DEVICE; }
Status cuDriverGetVersion(int *version) { return *version = 12020, OK; }
Status cuDeviceGetCount(int *count) { return *count = devices, OK; }
Status cuDeviceGet(int *device, int index) { return *device = index, index < devices ? OK : NO_DEVICE; }
Status cuDeviceGetAttribute(int *value, int, int) { return *value = 256, OK; }
Status cuDeviceGetName(char *name, int size, int) { return snprintf(name, size, "stand-in"), OK; }
Status cuDeviceGetUuid(void *uuid, int) { return memset(uuid, 0, 16), OK; }
Status cuDeviceComputeCapability(int *major, int *minor, int) { return *major = 7, *minor = 5, OK; }
Status cuCtxCreate_v2(void **context, unsigned, int) { return ++contexts, stack.push_back(*context = malloc(1)), OK; }
Status cuCtxDestroy_v2(void *context) { return --contexts, free(context), OK; }
Status cuCtxPushCurrent_v2(void *context) { return stack.push_back(context), OK; }
Status cuCtxPopCurrent_v2(void **context) {
    if (Status wrong = checked()) return wrong;
    *context = stack.back();
    stack.pop_back();
    return OK;
}
Status cuCtxGetCurrent(void **context) { return *context = stack.empty() ? nullptr : stack.back(), OK; }
Status cuCtxSetLimit(int, size_t) { return checked(); }
Status cuCtxGetDevice(int *device) { return *device = 0, checked(); }
Status cuMemAlloc_v2(uint64_t *at, size_t size) { return ++allocations, *at = (uint64_t)calloc(1, size), checked(); }
Status cuMemAllocPitch_v2(uint64_t *at, size_t *pitch, size_t width, size_t height, unsigned) {
    *pitch = (width + 255) / 256 * 256;
    return cuMemAlloc_v2(at, *pitch * height);
}
Status cuMemFree_v2(uint64_t at) { return --allocations, free((void *)at), checked(); }
Status cuMemsetD8Async(uint64_t at, unsigned char value, size_t count, void *) { return memset((void *)at, value, count), checked(); }

struct Copy {
    size_t from_x, from_y;
    int from_kind;
    const uint8_t *from_host;
    uint64_t from_device;
    void *from_array;
    size_t from_pitch, to_x, to_y;
    int to_kind;
    uint8_t *to_host;
    uint64_t to_device;
    void *to_array;
    size_t to_pitch, width, height;
};
Status cuMemcpy2D_v2(const Copy *copy) {
    const uint8_t *from = copy->from_kind == 1 ? copy->from_host : (const uint8_t *)copy->from_device;
    uint8_t *to = copy->to_kind == 1 ? copy->to_host : (uint8_t *)copy->to_device;
    for (size_t y = 0; y < copy->height; ++y)
        memcpy(to + (copy->to_y + y) * copy->to_pitch + copy->to_x, from + (copy->from_y + y) * copy->from_pitch + copy->from_x,
               copy->width);
    return checked();
}
Status cuMemcpy2DAsync_v2(const Copy *copy, void *) { return cuMemcpy2D_v2(copy); }
Status cuGetErrorName(Status, const char **name) { return *name = "CUDA_ERROR_STAND_IN", OK; }
Status cuGetErrorString(Status, const char **text) { return *text = "an error of the stand-in", OK; }
Status cuStreamSynchronize(void *) { return checked(); }

// FFmpeg looks for these, and needs none of them here.
#define UNUSED(name) Status name() { return UNKNOWN; }
UNUSED(cuDevicePrimaryCtxRetain) UNUSED(cuDevicePrimaryCtxRelease) UNUSED(cuDevicePrimaryCtxSetFlags)
UNUSED(cuDevicePrimaryCtxGetState) UNUSED(cuDevicePrimaryCtxReset) UNUSED(cuStreamCreate) UNUSED(cuStreamQuery)
UNUSED(cuStreamDestroy_v2) UNUSED(cuStreamAddCallback) UNUSED(cuEventCreate) UNUSED(cuEventDestroy_v2)
UNUSED(cuEventSynchronize) UNUSED(cuEventQuery) UNUSED(cuEventRecord) UNUSED(cuLaunchKernel) UNUSED(cuModuleLoadData)
UNUSED(cuModuleUnload) UNUSED(cuModuleGetFunction) UNUSED(cuTexObjectCreate) UNUSED(cuTexObjectDestroy)
UNUSED(cuGLGetDevices_v2) UNUSED(cuGraphicsGLRegisterImage) UNUSED(cuGraphicsUnregisterResource)
UNUSED(cuGraphicsMapResources) UNUSED(cuGraphicsUnmapResources) UNUSED(cuGraphicsSubResourceGetMappedArray)
UNUSED(cuArray3DCreate_v2) UNUSED(cuArrayCreate_v2) UNUSED(cuArrayDestroy) UNUSED(cuDestroyExternalMemory)
UNUSED(cuDestroyExternalSemaphore) UNUSED(cuDeviceGetByPCIBusId) UNUSED(cuDeviceGetLuid) UNUSED(cuDeviceGetPCIBusId)
UNUSED(cuDeviceGetUuid_v2) UNUSED(cuEGLStreamConsumerDisconnect) UNUSED(cuEGLStreamProducerConnect)
UNUSED(cuEGLStreamProducerDisconnect) UNUSED(cuEGLStreamProducerPresentFrame) UNUSED(cuEGLStreamProducerReturnFrame)
UNUSED(cuExternalMemoryGetMappedBuffer) UNUSED(cuExternalMemoryGetMappedMipmappedArray)
UNUSED(cuGraphicsResourceGetMappedPointer_v2) UNUSED(cuImportExternalMemory) UNUSED(cuImportExternalSemaphore)
UNUSED(cuLinkAddData) UNUSED(cuLinkComplete) UNUSED(cuLinkCreate) UNUSED(cuLinkDestroy) UNUSED(cuMemAllocManaged)
UNUSED(cuMemcpy) UNUSED(cuMemcpyAsync) UNUSED(cuMemcpyDtoDAsync_v2) UNUSED(cuMemcpyDtoD_v2) UNUSED(cuMemcpyDtoHAsync_v2)
UNUSED(cuMemcpyDtoH_v2) UNUSED(cuMemcpyHtoDAsync_v2) UNUSED(cuMemcpyHtoD_v2) UNUSED(cuMipmappedArrayDestroy)
UNUSED(cuMipmappedArrayGetLevel) UNUSED(cuModuleGetGlobal) UNUSED(cuSignalExternalSemaphoresAsync) UNUSED(cuStreamWaitEvent)
UNUSED(cuWaitExternalSemaphoresAsync)

#else

struct Decoder {
    size_t width, height, pitch;
    std::map<int, std::vector<uint8_t>> surfaces;
};
static FILE *pictures = nullptr;
static int decoders = 0, mapped = 0, number = 0, fails_at = -1, refuses = 0, brighter = 0;

// What the next decoder does: the file of its pictures; the picture that fails (-1: none); no decoder for this kind of stream;
// levels that are added to every luma.
void fake_script(const char *path, int failing, int refusing, int added) {
    if (pictures) fclose(pictures);
    pictures = fopen(path, "rb");
    number = 0, fails_at = failing, refuses = refusing, brighter = added;
}
// Decoders that live, pictures that are still mapped, and pictures that were decoded.
void fake_decoders(int *found) { found[0] = decoders, found[1] = mapped, found[2] = number; }

Status cuvidGetDecoderCaps(uint8_t *caps) {
    const uint16_t formats = 1, least = 48;
    const uint32_t largest = 4096, blocks = 65536;
    caps[24] = !refuses;
    memcpy(caps + 26, &formats, 2);
    memcpy(caps + 28, &largest, 4), memcpy(caps + 32, &largest, 4), memcpy(caps + 36, &blocks, 4);
    memcpy(caps + 40, &least, 2), memcpy(caps + 42, &least, 2);
    return OK;
}
Status cuvidCreateDecoder(void **decoder, const void *info) {
    auto made = new Decoder;
    made->width = at<uint64_t>(info, 96), made->height = at<uint64_t>(info, 104);
    made->pitch = (made->width + 255) / 256 * 256;
    return ++decoders, *decoder = made, OK;
}
Status cuvidDestroyDecoder(Decoder *decoder) { return --decoders, delete decoder, OK; }
Status cuvidDecodePicture(Decoder *decoder, const void *facts) {
    if (number == fails_at) return UNKNOWN;
    auto &surface = decoder->surfaces[at<int>(facts, 8)];
    surface.assign(decoder->pitch * decoder->height * 3 / 2, 0);
    for (size_t y = 0; y < decoder->height * 3 / 2; ++y) {
        if (fread(&surface[y * decoder->pitch], 1, decoder->width, pictures) != decoder->width) return INVALID;
        for (size_t x = 0; brighter && y < decoder->height && x < decoder->width; ++x) surface[y * decoder->pitch + x] += brighter;
    }
    return ++number, OK;
}
Status cuvidMapVideoFrame64(Decoder *decoder, int index, uint64_t *device, unsigned *pitch, void *) {
    return ++mapped, *device = (uint64_t)decoder->surfaces[index].data(), *pitch = decoder->pitch, OK;
}
Status cuvidUnmapVideoFrame64(Decoder *, uint64_t) { return --mapped, OK; }

#define UNUSED(name) Status name() { return UNKNOWN; }
UNUSED(cuvidGetDecodeStatus) UNUSED(cuvidReconfigureDecoder) UNUSED(cuvidMapVideoFrame) UNUSED(cuvidUnmapVideoFrame)
UNUSED(cuvidCtxLockCreate) UNUSED(cuvidCtxLockDestroy) UNUSED(cuvidCtxLock) UNUSED(cuvidCtxUnlock)
UNUSED(cuvidCreateVideoSource) UNUSED(cuvidCreateVideoSourceW) UNUSED(cuvidDestroyVideoSource)
UNUSED(cuvidSetVideoSourceState) UNUSED(cuvidGetVideoSourceState) UNUSED(cuvidGetSourceVideoFormat)
UNUSED(cuvidGetSourceAudioFormat) UNUSED(cuvidCreateVideoParser) UNUSED(cuvidParseVideoData) UNUSED(cuvidDestroyVideoParser)

#endif
}
