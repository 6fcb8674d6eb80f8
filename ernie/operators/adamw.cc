// Clipping by the global norm and AdamW over all parameters at once: two passes over memory, whatever the number of
// parameters. The update is the one of Paddle's AdamW kernel (see ernie/optimization.py for the form of epsilon).
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "paddle/phi/api/all.h"

namespace ernie {

constexpr int64_t kBlock = 1 << 15;  // elements: work is divided among threads in blocks of at most so many

struct Block {
  int tensor;
  int64_t first, last;  // the last element is not in it
};

std::vector<Block> blocks_of(const std::vector<paddle::Tensor>& tensors) {
  std::vector<Block> blocks;
  for (size_t i = 0; i < tensors.size(); ++i)
    for (int64_t first = 0; first < tensors[i].numel(); first += kBlock)
      blocks.push_back({static_cast<int>(i), first, std::min(first + kBlock, tensors[i].numel())});
  return blocks;
}

// The factor of the gradients whose norm over all tensors would be above `limit`. Every block has its own sum, added up
// in their order: the number of threads changes no bit.
float clip_factor(const std::vector<paddle::Tensor>& gradients, const std::vector<Block>& blocks, float limit) {
  const int64_t count = static_cast<int64_t>(blocks.size());
  std::vector<double> squares(count);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    const float* gradient = gradients[blocks[i].tensor].data<float>();
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (int64_t j = blocks[i].first; j < blocks[i].last; ++j) total += gradient[j] * gradient[j];
    squares[i] = total;
  }
  double total = 0.0;
  for (double square : squares) total += square;
  const double norm = std::sqrt(total);
  return norm > limit ? static_cast<float>(limit / norm) : (norm == norm ? 1.0f : static_cast<float>(norm));
}

// decay: of each parameter, times its learning rate; factors: of the rate, one a parameter; beta*_power: beta^t of the step t that is made, then of the next.
void adamw(std::vector<paddle::Tensor>& parameters, const std::vector<paddle::Tensor>& gradients,
           std::vector<paddle::Tensor>& first_moments, std::vector<paddle::Tensor>& second_moments,
           std::vector<paddle::Tensor>& beta1_powers, std::vector<paddle::Tensor>& beta2_powers,
           const paddle::Tensor& learning_rate, const paddle::Tensor& epsilon, const std::vector<float>& decay,
           const std::vector<float>& factors, float beta1, float beta2, float clip_norm) {
  const std::vector<Block> blocks = blocks_of(gradients);
  const float factor = clip_factor(gradients, blocks, clip_norm);
  const float rate = learning_rate.data<float>()[0];
  const int64_t count = static_cast<int64_t>(blocks.size());
  std::vector<float*> values, means, squares;
  std::vector<float> rates, epsilons;
  for (size_t i = 0; i < parameters.size(); ++i) {
    values.push_back(parameters[i].data<float>());
    means.push_back(first_moments[i].data<float>());
    squares.push_back(second_moments[i].data<float>());
    float *power1 = beta1_powers[i].data<float>(), *power2 = beta2_powers[i].data<float>();
    const float root = std::sqrt(1.0f - *power2);
    rates.push_back(rate * factors[i] * root / (1.0f - *power1));
    epsilons.push_back(epsilon.data<float>()[0] * root);
    *power1 *= beta1;
    *power2 *= beta2;
  }
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    const Block& block = blocks[i];
    const float* gradient = gradients[block.tensor].data<float>();
    float *value = values[block.tensor], *mean = means[block.tensor], *square = squares[block.tensor];
    const float kept = 1.0f - rate * factors[block.tensor] * decay[block.tensor], step = rates[block.tensor], least = epsilons[block.tensor];
#pragma omp simd
    for (int64_t j = block.first; j < block.last; ++j) {
      const float slope = gradient[j] * factor;
      mean[j] = beta1 * mean[j] + (1.0f - beta1) * slope;
      square[j] = beta2 * square[j] + (1.0f - beta2) * slope * slope;
      value[j] = value[j] * kept - step * (mean[j] / (std::sqrt(square[j]) + least));
    }
  }
}

}  // namespace ernie

PD_BUILD_OP(ernie_adamw)
    .Inputs({paddle::Vec("parameters"), paddle::Vec("gradients"), paddle::Vec("first_moments"),
             paddle::Vec("second_moments"), paddle::Vec("beta1_powers"), paddle::Vec("beta2_powers"), "learning_rate",
             "epsilon"})
    .Outputs({paddle::Vec("parameters_out"), paddle::Vec("first_moments_out"), paddle::Vec("second_moments_out"),
              paddle::Vec("beta1_powers_out"), paddle::Vec("beta2_powers_out")})
    .Attrs({"decay: std::vector<float>", "factors: std::vector<float>", "beta1: float", "beta2: float", "clip_norm: float"})
    .SetInplaceMap({{paddle::Vec("parameters"), paddle::Vec("parameters_out")},
                    {paddle::Vec("first_moments"), paddle::Vec("first_moments_out")},
                    {paddle::Vec("second_moments"), paddle::Vec("second_moments_out")},
                    {paddle::Vec("beta1_powers"), paddle::Vec("beta1_powers_out")},
                    {paddle::Vec("beta2_powers"), paddle::Vec("beta2_powers_out")}})
    .SetKernelFn(PD_KERNEL(ernie::adamw));
