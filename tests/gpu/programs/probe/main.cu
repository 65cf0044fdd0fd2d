// Does to a GPU what the first word of its input says; the tests beside it say what must come of it.
//
//   devices            prints the UUID of every GPU that it can see
//   spin SECONDS MIB   holds MIB of memory, keeps the GPU busy, prints a line every 100 ms
//   hog                takes memory until there is none: exit code 3
//   hang               starts a kernel that never ends
//   oob                writes through a wild pointer: exit code 4
//   mark MIB           fills memory with a pattern and leaves it
//   look MIB           counts the words of that pattern in memory that it is given
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

namespace {

constexpr std::uint64_t PATTERN = 0xA5C3A5C3A5C3A5C3ULL;
constexpr std::size_t MIB = 1 << 20;

void require(cudaError_t result, const char *what) {
    if (result != cudaSuccess) {
        std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(result));
        std::exit(10);
    }
}

__global__ void busy(float *values, std::size_t count, int rounds) {
    std::size_t at = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
    if (at >= count) return;
    float value = values[at];
    for (int round = 0; round < rounds; ++round) value = value * 1.0000001f + 0.5f;
    values[at] = value;
}

__global__ void endless(volatile int *stop) {
    while (*stop == 0) {
    }
}

__global__ void wild(int *nowhere) { nowhere[threadIdx.x] = 1; }

__global__ void fill(std::uint64_t *words, std::size_t count) {
    std::size_t at = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
    if (at < count) words[at] = PATTERN;
}

__global__ void seek(const std::uint64_t *words, std::size_t count, unsigned long long *found) {
    std::size_t at = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
    if (at < count && words[at] == PATTERN) atomicAdd(found, 1ULL);
}

unsigned blocks_for(std::size_t count) { return static_cast<unsigned>((count + 255) / 256); }

template <typename T>
T *take(std::size_t bytes) {
    T *memory = nullptr;
    require(cudaMalloc(&memory, bytes), "cudaMalloc");
    return memory;
}

int devices() {
    int count = 0;
    require(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
    for (int number = 0; number < count; ++number) {
        cudaDeviceProp properties{};
        require(cudaGetDeviceProperties(&properties, number), "cudaGetDeviceProperties");
        std::printf("GPU-");
        for (int byte = 0; byte < 16; ++byte) {
            if (byte == 4 || byte == 6 || byte == 8 || byte == 10) std::printf("-");
            std::printf("%02x", static_cast<unsigned char>(properties.uuid.bytes[byte]));
        }
        std::printf("\n");
    }
    return 0;
}

int spin(double seconds, std::size_t mib) {
    std::size_t count = mib * MIB / sizeof(float);
    auto *values = take<float>(count * sizeof(float));
    require(cudaMemset(values, 0, count * sizeof(float)), "cudaMemset");
    using Clock = std::chrono::steady_clock;
    auto began = Clock::now();
    auto passed = [&] { return std::chrono::duration<double>(Clock::now() - began).count(); };
    int lines = 0;
    while (passed() < seconds) {
        busy<<<blocks_for(count), 256>>>(values, count, 2000);
        require(cudaDeviceSynchronize(), "busy");
        for (; lines < passed() * 10; ++lines) {
            std::printf("tick %d\n", lines);
            std::fflush(stdout);
        }
    }
    return 0;
}

int hog() {
    std::size_t taken = 0;
    for (;;) {
        void *memory = nullptr;
        cudaError_t result = cudaMalloc(&memory, 64 * MIB);
        if (result == cudaErrorMemoryAllocation) break;
        require(result, "cudaMalloc");
        require(cudaMemset(memory, 1, 64 * MIB), "cudaMemset");
        taken += 64;
    }
    std::printf("out of memory after %zu MiB\n", taken);
    return 3;
}

int hang() {
    auto *stop = take<int>(sizeof(int));
    require(cudaMemset(stop, 0, sizeof(int)), "cudaMemset");
    std::printf("hanging\n");
    std::fflush(stdout);
    endless<<<1, 1>>>(stop);
    require(cudaDeviceSynchronize(), "endless");
    return 0;
}

int out_of_bounds() {
    wild<<<1, 32>>>(reinterpret_cast<int *>(std::uintptr_t{0xDEAD0000}));
    cudaError_t result = cudaDeviceSynchronize();
    std::printf("%s\n", cudaGetErrorName(result));
    return result == cudaSuccess ? 0 : 4;
}

int mark(std::size_t mib) {
    std::size_t count = mib * MIB / sizeof(std::uint64_t);
    auto *words = take<std::uint64_t>(count * sizeof(std::uint64_t));
    fill<<<blocks_for(count), 256>>>(words, count);
    require(cudaDeviceSynchronize(), "fill");
    return 0;
}

int look(std::size_t mib) {
    std::size_t count = mib * MIB / sizeof(std::uint64_t);
    auto *words = take<std::uint64_t>(count * sizeof(std::uint64_t));
    auto *found = take<unsigned long long>(sizeof(unsigned long long));
    require(cudaMemset(found, 0, sizeof(unsigned long long)), "cudaMemset");
    seek<<<blocks_for(count), 256>>>(words, count, found);
    unsigned long long seen = 0;
    require(cudaMemcpy(&seen, found, sizeof seen, cudaMemcpyDeviceToHost), "seek");
    std::printf("%llu\n", seen);
    return 0;
}

}  // namespace

int main() {
    std::string what;
    std::cin >> what;
    double seconds = 0;
    std::size_t mib = 0;
    if (what == "devices") return devices();
    if (what == "spin" && std::cin >> seconds >> mib) return spin(seconds, mib);
    if (what == "hog") return hog();
    if (what == "hang") return hang();
    if (what == "oob") return out_of_bounds();
    if (what == "mark" && std::cin >> mib) return mark(mib);
    if (what == "look" && std::cin >> mib) return look(mib);
    std::fprintf(stderr, "what is %s?\n", what.c_str());
    return 2;
}
