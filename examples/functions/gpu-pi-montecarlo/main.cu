// gpu-pi-montecarlo: approximates pi on a GPU by throwing random points at a square.
//
// Input:  a number of iterations n; it is rounded up to a multiple of the 2048 threads.
// Output: the GPUs that the program sees, the size of the simulation, and the approximation.
//         Without a GPU: a message on stderr, exit code 1.

#include <cuda_runtime.h>
#include <curand_kernel.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <limits>

namespace {

constexpr int blocks = 64;
constexpr int threads_per_block = 32;
constexpr std::int64_t total_threads = blocks * threads_per_block;

void check(cudaError_t status, const char* action) {
    if (status != cudaSuccess) {
        std::fprintf(stderr, "gpu-pi-montecarlo: cannot %s: %s\n", action,
                     cudaGetErrorString(status));
        std::exit(1);
    }
}

// Each thread counts its own hits; the first thread of a block adds them up for the block.
__global__ void count_hits(std::int64_t iterations_per_thread, unsigned long long seed,
                           unsigned long long* total_hits) {
    __shared__ unsigned long long hits_of_thread[threads_per_block];

    curandState generator;
    curand_init(seed, blockIdx.x * blockDim.x + threadIdx.x, 0, &generator);

    unsigned long long hits = 0;
    for (std::int64_t i = 0; i < iterations_per_thread; ++i) {
        const float x = curand_uniform(&generator);
        const float y = curand_uniform(&generator);
        hits += x * x + y * y <= 1.0F ? 1 : 0;
    }
    hits_of_thread[threadIdx.x] = hits;

    __syncthreads();  // every thread has written its count before the first one reads them

    if (threadIdx.x == 0) {
        unsigned long long hits_of_block = 0;
        for (unsigned int t = 0; t < blockDim.x; ++t) {
            hits_of_block += hits_of_thread[t];
        }
        atomicAdd(total_hits, hits_of_block);
    }
}

void print_devices(int count) {
    for (int device = 0; device < count; ++device) {
        cudaDeviceProp properties{};
        check(cudaGetDeviceProperties(&properties, device), "read a GPU's properties");

        // An attribute since CUDA 13, which took it out of cudaDeviceProp.
        int memory_clock_khz = 0;
        check(cudaDeviceGetAttribute(&memory_clock_khz, cudaDevAttrMemoryClockRate, device),
              "read a GPU's memory clock");

        std::printf("Device Number: %d\n", device);
        std::printf("  Device name: %s\n", properties.name);
        std::printf("  Memory Clock Rate (KHz): %d\n", memory_clock_khz);
    }
}

std::int64_t simulate(std::int64_t iterations) {
    unsigned long long* total_hits = nullptr;
    check(cudaMalloc(&total_hits, sizeof *total_hits), "allocate GPU memory");
    check(cudaMemset(total_hits, 0, sizeof *total_hits), "clear GPU memory");

    const auto seed = static_cast<unsigned long long>(
        std::chrono::system_clock::now().time_since_epoch().count());
    count_hits<<<blocks, threads_per_block>>>(iterations / total_threads, seed, total_hits);
    check(cudaGetLastError(), "start the simulation");
    check(cudaDeviceSynchronize(), "run the simulation");

    unsigned long long hits = 0;
    check(cudaMemcpy(&hits, total_hits, sizeof hits, cudaMemcpyDeviceToHost), "read the result");
    check(cudaFree(total_hits), "free GPU memory");
    return static_cast<std::int64_t>(hits);
}

}  // namespace

int main() {
    std::int64_t requested = 0;
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max() - total_threads;
    if (!(std::cin >> requested) || requested < 1 || requested > most) {
        std::cerr << "gpu-pi-montecarlo: the input must be a number of iterations, at least 1\n";
        return 1;
    }

    int devices = 0;
    check(cudaGetDeviceCount(&devices), "find a GPU");
    if (devices == 0) {
        std::cerr << "gpu-pi-montecarlo: cannot find a GPU\n";
        return 1;
    }
    print_devices(devices);

    const std::int64_t iterations =
        (requested + total_threads - 1) / total_threads * total_threads;
    std::printf("Starting simulation with %d blocks, %d threads per block (warps), "
                "and a total of %lld iterations\n",
                blocks, threads_per_block, static_cast<long long>(iterations));
    std::fflush(stdout);  // shown while the simulation runs

    const std::int64_t hits = simulate(iterations);
    std::printf("Approximated PI using %lld random tests\n", static_cast<long long>(iterations));
    std::printf("PI ~= %.9f\n", 4.0 * static_cast<double>(hits) / static_cast<double>(iterations));
    return 0;
}
