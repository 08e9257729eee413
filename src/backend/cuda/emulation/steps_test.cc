// SPDX-License-Identifier: Apache-2.0
// takt's own kernels on the CPU beside the reference evaluator: the tables that takt-gpu-tests runs on a GPU. The
// other families have tests of their own (movement_test.cc, selection_test.cc, preprocess_emulation_test.cc).
// Not covered: the many ways of device_tests/kernels_test.cc to ask for single kernels without a step.
#include "backend/cuda/device_tests/step_cases.h"
#include "backend/cuda/emulation/emulated_steps.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace takt::cuda::emulation {
namespace {

// Those whose names contain TAKT_EMULATED_CASE, where it is set.
std::vector<StepCase> wanted(std::vector<StepCase> cases) {
  const char* const name = std::getenv("TAKT_EMULATED_CASE");
  if (name == nullptr) return cases;
  std::erase_if(cases,
                [&](const StepCase& one) { return one.name.find(name) == std::string::npos; });
  return cases;
}

// All kernels are compiled together.
void expect_as_reference(const std::vector<StepCase>& all, int capability) {
  const std::vector<StepCase> cases = wanted(all);
  if (!has_compiler()) GTEST_SKIP() << "no compiler " TAKT_HOST_COMPILER;
  std::vector<StepCode> codes;
  for (const StepCase& one : cases) {
    Result<StepCode> code = code_of(one, "k" + std::to_string(codes.size()));
    ASSERT_TRUE(code) << one.name << ": " << code.error().message;
    codes.push_back(*std::move(code));
  }
  Result<EmulatedSteps> steps = EmulatedSteps::compile(codes, capability);
  ASSERT_TRUE(steps) << steps.error().message;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Step& step = cases[i].step;
    const auto inputs = input_bytes(step, static_cast<unsigned>(i + 1));
    std::vector<EmulatedSteps::Bytes> buffers = inputs;
    for (const StepOutput& output : step.outputs) {
      buffers.emplace_back(buffer_bytes(output.view), kUnwritten);
    }
    const Result<void> done = steps->run(step, codes[i], buffers);
    EXPECT_TRUE(done) << cases[i].name << ": " << done.error().message;
    if (!done) continue;
    buffers.erase(buffers.begin(), buffers.begin() + static_cast<std::ptrdiff_t>(inputs.size()));
    EXPECT_EQ(difference(step, inputs, buffers), "") << cases[i].name;
  }
}

TEST(EmulatedSteps, ContractionsAreThoseOfTheReference) {
  expect_as_reference(contraction_cases(), 800);
}

TEST(EmulatedSteps, ConvolutionsOfEveryKindAreThoseOfTheReference) {
  expect_as_reference(random_contraction_cases(), 750);
}

TEST(EmulatedSteps, ContractionsOnTensorCoresAreThoseOfTheReference) {
  expect_as_reference(tensor_core_cases(), 900);
}

TEST(EmulatedSteps, AttentionIsThatOfTheReference) {
  expect_as_reference(attention_cases(DataType::fp16), 750);
  expect_as_reference(attention_cases(DataType::bf16), 800);
}

TEST(EmulatedSteps, ElementsRowsWindowsAndNormsAreThoseOfTheReference) {
  for (const int capability : {750, 800}) expect_as_reference(other_cases(), capability);
}

}  // namespace
}  // namespace takt::cuda::emulation
