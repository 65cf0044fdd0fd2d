// A hermes-function on a GPU: its input comes on stdin, its output goes to stdout.
// This one squares the numbers of the input, each in a GPU thread of its own.

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <vector>

// Ends the program with a message if a call to CUDA failed.
void check(cudaError_t status) {
    if (status != cudaSuccess) {
        std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(status));
        std::exit(1);
    }
}

// Runs on the GPU, once per thread.
__global__ void square(float* numbers, int count) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) {
        numbers[i] *= numbers[i];
    }
}

int main() {
    std::vector<float> numbers;
    float number = 0;
    while (std::cin >> number) {
        numbers.push_back(number);
    }
    if (numbers.empty()) {
        std::fprintf(stderr, "There was no number in the input.\n");
        return 1;
    }

    const int count = static_cast<int>(numbers.size());
    const std::size_t bytes = numbers.size() * sizeof(float);

    // The GPU has a memory of its own: copy the numbers there, square them, copy them back.
    float* on_gpu = nullptr;
    check(cudaMalloc(&on_gpu, bytes));
    check(cudaMemcpy(on_gpu, numbers.data(), bytes, cudaMemcpyHostToDevice));

    const int threads = 256;
    square<<<(count + threads - 1) / threads, threads>>>(on_gpu, count);
    check(cudaGetLastError());

    check(cudaMemcpy(numbers.data(), on_gpu, bytes, cudaMemcpyDeviceToHost));
    check(cudaFree(on_gpu));

    for (const float squared : numbers) {
        std::cout << squared << '\n';
    }
    return 0;
}
