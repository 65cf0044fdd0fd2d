/* Harm by a GPU: gpu hog|hang|outside|residue. What must happen:
   hog      takes all memory of its GPU: allocation fails at the end, other GPUs are untouched
   hang     a kernel without end: the limit on time ends the run, the GPU is free afterwards
   outside  writes past its memory: this process alone gets an error
   residue  looks for what an earlier run left: it must find none of the pattern that hog leaves */
#include <cstdio>
#include <cstring>
#include <vector>

__global__ void fill(unsigned *at, size_t words, unsigned pattern) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < words; i += (size_t)gridDim.x * blockDim.x)
        at[i] = pattern;
}

__global__ void spin(volatile int *stop) {
    while (!*stop) continue;
}

static const unsigned pattern = 0x6865726d;
static const size_t chunk = 256ul << 20;

static int report(const char *step, cudaError_t outcome) {
    std::printf("%s=%s\n", step, outcome ? cudaGetErrorString(outcome) : "done");
    return outcome ? 1 : 0;
}

static int hog() {
    size_t taken = 0;
    unsigned *room;
    while (cudaMalloc(&room, chunk) == cudaSuccess) {
        fill<<<256, 256>>>(room, chunk / 4, pattern);
        taken += chunk;
    }
    std::printf("taken=%zu\n", taken >> 20);
    return report("hog", cudaDeviceSynchronize());
}

static int hang() {
    int *stop;
    if (cudaMalloc(&stop, sizeof *stop) || cudaMemset(stop, 0, sizeof *stop)) return 2;
    spin<<<1, 1>>>(stop);
    return report("hang", cudaDeviceSynchronize());
}

static int outside() {
    unsigned *room;
    if (cudaMalloc(&room, 4096)) return 2;
    fill<<<1, 256>>>(room, 1ul << 40, pattern);
    return report("outside", cudaDeviceSynchronize());
}

static int residue() {
    size_t found = 0, looked = 0;
    std::vector<unsigned> seen(chunk / 4);
    unsigned *room;
    while (looked < (16ul << 30) && cudaMalloc(&room, chunk) == cudaSuccess) {
        if (cudaMemcpy(seen.data(), room, chunk, cudaMemcpyDeviceToHost)) return 2;
        for (unsigned word : seen) found += word == pattern;
        looked += chunk;
    }
    std::printf("residue=%zu of %zu MiB\n", found, looked >> 20);
    return found ? 1 : 0;
}

int main(int count, char **words) {
    if (count < 2) return 2;
    if (!std::strcmp(words[1], "hog")) return hog();
    if (!std::strcmp(words[1], "hang")) return hang();
    if (!std::strcmp(words[1], "outside")) return outside();
    if (!std::strcmp(words[1], "residue")) return residue();
    return 2;
}
