// SPDX-License-Identifier: Apache-2.0
// Steps of one operator on the device beside the reference evaluator, with tensors that lie in memory in
// different ways. The device is a GPU or the CPU (test_device.h).
// Thread-safe: no.
// Owns: the steps that run at the end of the test.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/device_tests/gpu_fixture.h"  // TAKT_ASSERT_OK
#include "backend/cuda/device_tests/test_device.h"
#include "backend/cuda/kernels/step_code.h"
#include "graph/graph.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace takt::cuda {

enum class TensorLayout : std::uint8_t {
  dense,
  channels_last,  // dimension 1 is the innermost
  gapped,  // channels_last, with an offset and gaps between rows, as a slice of a larger tensor
};

struct Storage {
  TensorLayout layout = TensorLayout::dense;
  DataType floats = DataType::fp32;  // how floating point is stored

  [[nodiscard]] View view_of(const graph::TensorType& type, int buffer) const;
};

// Normally distributed, or integers from 1 to 5.
[[nodiscard]] graph::Constant random_numbers(const graph::TensorType& type, unsigned seed);
[[nodiscard]] graph::Constant integers(DataType type, const Shape& shape,
                                       const std::vector<std::int64_t>& numbers);

using CodeOf = Result<StepCode> (*)(const Step& step, const std::string& name);

class StepTest : public testing::Test {
 protected:
  // Skips the test where there is no device.
  void SetUp() override;
  // Runs what was expected and compares: together, for a compiler takes long to start.
  void TearDown() override;

  // All inputs are stored in one way and all outputs in another. Rows that the reference doesn't have are -1.
  void expect_reference(CodeOf code_of, const graph::Operator& op,
                        const std::vector<graph::Constant>& inputs, const Storage& in,
                        const Storage& out);
  // The same in all ways, dense and strided, FP32 and FP16.
  void expect_reference(CodeOf code_of, const graph::Operator& op,
                        const std::vector<graph::Constant>& inputs);
  // The outputs, dense and in their views' types, of inputs that are stored as their views say.
  [[nodiscard]] Result<std::vector<graph::Constant>> outputs_of(
      CodeOf code_of, const Step& step, const std::vector<graph::Constant>& inputs);

 private:
  std::unique_ptr<TestDevice> device_;
  std::vector<StepRun> runs_;
  std::vector<std::vector<graph::Constant>> expected_;  // of each run
};

}  // namespace takt::cuda
