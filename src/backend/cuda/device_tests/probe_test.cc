// SPDX-License-Identifier: Apache-2.0
// Ways to compute a step, timed by themselves and beside each other.
#include "backend/cuda/compile/probe.h"

#include "backend/cuda/device_tests/gpu_fixture.h"
#include "backend/cuda/device_tests/step_cases.h"
#include "graph/operators.h"

#include <gmock/gmock.h>

#include <limits>
#include <vector>

namespace takt::cuda {
namespace {

using testing::Each;
using testing::Gt;

constexpr int kNone = std::numeric_limits<int>::max();

// Refuses one allocation, counted from 0.
class RefuseOne final : public AllocationGate {
 public:
  bool admit(std::string_view, std::size_t) noexcept override { return count++ != refused; }
  int count = 0;
  int refused = kNone;
};

// A convolution of few pixels, whose kernel leaves most of a device idle.
Step small_convolution() {
  const graph::Window window{{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
  const Layout layout = channels_innermost(4);
  return chain_step(
      StepKind::contraction,
      {{DataType::fp16, {1, 32, 14, 14}, layout},
       {DataType::fp16, {64, 32, 3, 3}, layout},
       {DataType::fp16, {64}, {}}},
      {{graph::Conv{window, 1}, {0, 1, 2}}, {graph::Unary{graph::UnaryKind::relu, 0, 0}, {3}}},
      DataType::fp16, layout);
}

class GpuProbe : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (!context_) return;
    open_context(&gate_);
    Result<Stream> stream = Stream::create(context_);
    TAKT_ASSERT_OK(stream);
    stream_.emplace(*std::move(stream));
    kernels_.emplace(context_, pieces_, &gpu_->nvrtc);
    Result<StepRunner> own = StepRunner::with_kernels(step_, *kernels_);
    TAKT_ASSERT_OK(own);
    way_.push_back(*std::move(own));
    TAKT_ASSERT_OK(create(1));  // from here on all kernels are loaded
  }

  Result<Probe> create(int runs_beside) {
    return Probe::create(step_, *kernels_, *stream_, nullptr, runs_beside);
  }
  // Allocations of making a probe.
  int allocations(int runs_beside) {
    gate_.count = 0;
    EXPECT_TRUE(create(runs_beside).has_value());
    return gate_.count;
  }
  // Times two ways and compares them with the reference, which is their like.
  void expect_works(Probe& probe) {
    TAKT_ASSERT_OK(probe.set_reference(way_));
    const Result<float> before = probe.difference(way_);
    TAKT_ASSERT_OK(before);
    EXPECT_EQ(*before, 0);
    const std::vector<std::vector<StepRunner>> ways{way_, way_};
    const Result<std::vector<Duration>> times = probe.times(ways, 3);
    TAKT_ASSERT_OK(times);
    ASSERT_EQ(times->size(), 2U);
    EXPECT_THAT(*times, Each(Gt(Duration{})));
    const Result<float> after = probe.difference(way_);
    TAKT_ASSERT_OK(after);
    EXPECT_EQ(*after, 0);
  }

  RefuseOne gate_;
  Step step_ = small_convolution();
  PieceStore pieces_;
  std::optional<Stream> stream_;
  std::optional<KernelCache> kernels_;
  std::vector<StepRunner> way_;
};

TEST_F(GpuProbe, RunsAreTimedByThemselvesAndBesideEachOther) {
  for (const int runs : {1, 2, 4}) {
    Result<Probe> probe = create(runs);
    TAKT_ASSERT_OK(probe);
    EXPECT_EQ(probe->runs_beside(), runs);
    expect_works(*probe);
  }
}

TEST_F(GpuProbe, WithoutMemoryForEachResultFewerRunsAreBesideEachOther) {
  const int alone = allocations(1);
  const int three = allocations(3);
  ASSERT_GT(three, alone + 1);
  for (int which = alone; which < three; ++which) {
    gate_.count = 0;
    gate_.refused = which;
    Result<Probe> probe = create(3);
    gate_.refused = kNone;
    TAKT_ASSERT_OK(probe);
    EXPECT_LT(probe->runs_beside(), 3) << "allocation " << which;
    expect_works(*probe);
  }
}

TEST_F(GpuProbe, WithoutMemoryForOneRunItIsAnError) {
  const int alone = allocations(1);
  for (int which = 0; which < alone; ++which) {
    gate_.count = 0;
    gate_.refused = which;
    const Result<Probe> probe = create(1);
    gate_.refused = kNone;
    ASSERT_FALSE(probe) << "allocation " << which;
    EXPECT_EQ(probe.error().kind, ErrorKind::out_of_memory) << probe.error().message;
  }
}

}  // namespace
}  // namespace takt::cuda
