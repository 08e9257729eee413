// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/captured_graph.h"
#include "backend/cuda/device_tests/gpu_fixture.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/module.h"
#include "backend/cuda/stream.h"
#include "core/half.h"

#include <gmock/gmock.h>

#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using Clock = std::chrono::steady_clock;

// A stream, and numbers that lie on the host and on the device.
class GpuCompute : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    Result<Stream> stream = Stream::create(context_);
    TAKT_ASSERT_OK(stream);
    stream_.emplace(*std::move(stream));
  }

  template <typename Number>
  Result<DeviceMemory> to_device(const std::vector<Number>& numbers) {
    Result<DeviceMemory> memory = DeviceMemory::allocate(context_, numbers.size() * sizeof(Number));
    if (!memory) return memory;
    Result<void> copied =
        copy_to_device(memory->span(), std::as_bytes(std::span(numbers)), *stream_);
    if (!copied) return std::unexpected(std::move(copied).error());
    return memory;
  }

  template <typename Number>
  Result<std::vector<Number>> to_host(const DeviceMemory& memory) {
    std::vector<Number> numbers(memory.span().bytes / sizeof(Number));
    Result<void> done =
        copy_to_host(std::as_writable_bytes(std::span(numbers)), memory.span(), *stream_);
    if (done) done = stream_->synchronize();
    if (!done) return std::unexpected(std::move(done).error());
    return numbers;
  }

  std::optional<Stream> stream_;
};

// scale * left + right, four elements a thread; the count is compiled in.
std::string scaled_sum(const std::string& element, std::size_t count) {
  return "#include <takt_kernel.h>\nusing Element = " + element +
         ";\nconstexpr unsigned kFours = " + std::to_string(count / 4) + ";\n" + R"(
extern "C" __global__ void scaled_sum(float scale, const Element* left, const Element* right,
                                      Element* sum) {
  using Four = takt::Elements<Element, 4>;
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < kFours; i += gridDim.x * blockDim.x) {
    const Four a = reinterpret_cast<const Four*>(left)[i];
    const Four b = reinterpret_cast<const Four*>(right)[i];
    Four result;
    for (int k = 0; k < 4; ++k) {
      result.at[k] = takt::from_float<Element>(
          fmaf(scale, takt::to_float(a.at[k]), takt::to_float(b.at[k])));
    }
    reinterpret_cast<Four*>(sum)[i] = result;
  }
}
)";
}

struct Fp32 {
  using Number = float;
  static constexpr const char* kName = "float";
  static float read(float value) { return value; }
  static float write(float value) { return value; }
};
struct Fp16 {
  using Number = std::uint16_t;
  static constexpr const char* kName = "takt::fp16";
  static float read(std::uint16_t bits) { return from_fp16(bits); }
  static std::uint16_t write(float value) { return to_fp16(value); }
};
struct Bf16 {
  using Number = std::uint16_t;
  static constexpr const char* kName = "takt::bf16";
  static float read(std::uint16_t bits) { return from_bf16(bits); }
  static std::uint16_t write(float value) { return to_bf16(value); }
};

template <typename Type>
class GpuComputeOf : public GpuCompute {};
using ElementTypes = testing::Types<Fp32, Fp16, Bf16>;

class ElementNames {
 public:
  template <typename Type>
  static std::string GetName(int) {
    return std::is_same_v<Type, Fp32> ? "fp32" : std::is_same_v<Type, Fp16> ? "fp16" : "bf16";
  }
};
TYPED_TEST_SUITE(GpuComputeOf, ElementTypes, ElementNames);

TYPED_TEST(GpuComputeOf, AKernelComputesWhatTheHostDoes) {
  using Number = typename TypeParam::Number;
  constexpr std::size_t kCount = 100'000;  // a multiple of 4
  constexpr float kScale = 1.7F;
  std::vector<Number> left(kCount);
  std::vector<Number> right(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    left[i] = TypeParam::write(std::sin(static_cast<float>(i)) * 300.0F);
    right[i] = TypeParam::write(std::cos(static_cast<float>(i) * 0.7F) * 1000.0F);
  }
  const auto kernel = this->build(scaled_sum(TypeParam::kName, kCount), "scaled_sum");
  TAKT_ASSERT_OK(kernel);
  const auto left_memory = this->to_device(left);
  TAKT_ASSERT_OK(left_memory);
  const auto right_memory = this->to_device(right);
  TAKT_ASSERT_OK(right_memory);
  const auto sum_memory = this->to_device(std::vector<Number>(kCount));
  TAKT_ASSERT_OK(sum_memory);
  TAKT_ASSERT_OK(kernel->launch(*this->stream_, {.grid = {32}, .block = {256}}, kScale,
                                left_memory->span().address, right_memory->span().address,
                                sum_memory->span().address));
  const auto sum = this->template to_host<Number>(*sum_memory);
  TAKT_ASSERT_OK(sum);
  for (std::size_t i = 0; i < kCount; ++i) {
    const float expected = std::fma(kScale, TypeParam::read(left[i]), TypeParam::read(right[i]));
    ASSERT_EQ((*sum)[i], TypeParam::write(expected)) << "element " << i;
  }
}

constexpr const char* kConvert = R"(
#include <takt_kernel.h>
extern "C" __global__ void convert(const float* values, takt::fp16* as_fp16, takt::bf16* as_bf16,
                                   float* from_fp16, float* from_bf16, unsigned count) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  as_fp16[i] = takt::from_float<takt::fp16>(values[i]);
  as_bf16[i] = takt::from_float<takt::bf16>(values[i]);
  from_fp16[i] = takt::to_float(takt::fp16{static_cast<unsigned short>(i)});
  from_bf16[i] = takt::to_float(takt::bf16{static_cast<unsigned short>(i)});
}
)";

// Around every fp16 and bf16 there is: the number itself, half-way to the next, and close to that.
std::vector<float> awkward_floats(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto high = static_cast<std::uint32_t>(i) << 16U;
    constexpr std::array<std::uint32_t, 4> kLow = {0, 0x8000, 0x7fff, 0x8001};
    const std::uint32_t as_bf16 = high | kLow[i % 4];
    const float near_fp16 = from_fp16(static_cast<std::uint16_t>(i)) * (1.0F + 0x1p-11F);
    values[i] = i % 3 == 0 ? near_fp16 : std::bit_cast<float>(as_bf16);
  }
  return values;
}

TEST_F(GpuCompute, The16BitFloatsAreThoseOfTheHost) {
  constexpr unsigned kCount = 65536;
  const std::vector<float> values = awkward_floats(kCount);
  const Result<Kernel> kernel = build(kConvert, "convert");
  TAKT_ASSERT_OK(kernel);
  const auto input = to_device(values);
  TAKT_ASSERT_OK(input);
  const auto as_fp16 = to_device(std::vector<std::uint16_t>(kCount));
  TAKT_ASSERT_OK(as_fp16);
  const auto as_bf16 = to_device(std::vector<std::uint16_t>(kCount));
  TAKT_ASSERT_OK(as_bf16);
  const auto fp16_read = to_device(std::vector<float>(kCount));
  TAKT_ASSERT_OK(fp16_read);
  const auto bf16_read = to_device(std::vector<float>(kCount));
  TAKT_ASSERT_OK(bf16_read);
  TAKT_ASSERT_OK(kernel->launch(*stream_, {.grid = {kCount / 256}, .block = {256}},
                                input->span().address, as_fp16->span().address,
                                as_bf16->span().address, fp16_read->span().address,
                                bf16_read->span().address, kCount));
  const auto fp16_bits = to_host<std::uint16_t>(*as_fp16);
  TAKT_ASSERT_OK(fp16_bits);
  const auto bf16_bits = to_host<std::uint16_t>(*as_bf16);
  TAKT_ASSERT_OK(bf16_bits);
  const auto from_fp16_bits = to_host<float>(*fp16_read);
  TAKT_ASSERT_OK(from_fp16_bits);
  const auto from_bf16_bits = to_host<float>(*bf16_read);
  TAKT_ASSERT_OK(from_bf16_bits);
  const auto same = [](float left, float right) {  // whatever NaN it is
    return std::bit_cast<std::uint32_t>(left) == std::bit_cast<std::uint32_t>(right) ||
           (std::isnan(left) && std::isnan(right));
  };
  for (unsigned i = 0; i < kCount; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    ASSERT_TRUE(same((*from_fp16_bits)[i], from_fp16(bits))) << "fp16 " << i;
    ASSERT_TRUE(same((*from_bf16_bits)[i], from_bf16(bits))) << "bf16 " << i;
    ASSERT_TRUE(same(from_fp16((*fp16_bits)[i]), from_fp16(to_fp16(values[i])))) << values[i];
    ASSERT_TRUE(same(from_bf16((*bf16_bits)[i]), from_bf16(to_bf16(values[i])))) << values[i];
  }
}

constexpr const char* kAddOne = R"(
#include <takt_kernel.h>
extern "C" __global__ void add_one(unsigned* numbers, unsigned count) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) numbers[i] += 1;
}
)";

TEST_F(GpuCompute, AGraphLaunchedAThousandTimesDoesItsWorkAThousandTimes) {
  constexpr unsigned kCount = 4096;
  constexpr unsigned kNodes = 3;
  constexpr unsigned kLaunches = 1000;
  const Result<Kernel> kernel = build(kAddOne, "add_one");
  TAKT_ASSERT_OK(kernel);
  const auto memory = to_device(std::vector<unsigned>(kCount, 7));
  TAKT_ASSERT_OK(memory);
  TAKT_ASSERT_OK(stream_->synchronize());
  const Result<CapturedGraph> graph = CapturedGraph::capture(*stream_, [&] {
    Result<void> queued;
    for (unsigned node = 0; node < kNodes && queued; ++node) {
      queued = kernel->launch(*stream_, {.grid = {kCount / 256}, .block = {256}},
                              memory->span().address, kCount);
    }
    return queued;
  });
  TAKT_ASSERT_OK(graph);
  EXPECT_EQ(graph->node_count(), kNodes);

  const Clock::time_point begin = Clock::now();
  for (unsigned launch = 0; launch < kLaunches; ++launch) TAKT_ASSERT_OK(graph->launch(*stream_));
  const Clock::time_point queued = Clock::now();
  const auto numbers = to_host<unsigned>(*memory);
  const Clock::time_point end = Clock::now();
  TAKT_ASSERT_OK(numbers);
  EXPECT_THAT(*numbers, testing::Each(7 + kNodes * kLaunches));

  const auto us_each = [](Clock::duration all) {
    return std::chrono::duration<double, std::micro>(all).count() / kLaunches;
  };
  std::array<char, 128> text{};
  std::snprintf(text.data(), text.size(),
                "graph of %u small kernels: %.2f us a launch on the host, %.2f us in all", kNodes,
                us_each(queued - begin), us_each(end - begin));
  print_measurement(text.data());
}

TEST_F(GpuCompute, AGraphWhoseWorkFailsLeavesTheStreamUsable) {
  const Result<CapturedGraph> graph = CapturedGraph::capture(
      *stream_, [] { return Result<void>(fail(ErrorKind::invalid_input, "no such layer")); });
  ASSERT_FALSE(graph.has_value());
  EXPECT_EQ(graph.error().message, "no such layer");
  const auto memory = to_device(std::vector<unsigned>{5});
  TAKT_ASSERT_OK(memory);
  const auto numbers = to_host<unsigned>(*memory);
  TAKT_ASSERT_OK(numbers);
  EXPECT_THAT(*numbers, testing::ElementsAre(5));
}

constexpr const char* kSpin = R"(
extern "C" __global__ void spin(unsigned long long ns) {
  unsigned long long begin, now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begin));
  do {
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  } while (now - begin < ns);
}
)";

TEST_F(GpuCompute, EventsTimeWhatLiesBetweenThem) {
  const Result<Kernel> kernel = build(kSpin, "spin");
  TAKT_ASSERT_OK(kernel);
  const Result<Event> begin = Event::create(context_, EventUse::timing);
  TAKT_ASSERT_OK(begin);
  const Result<Event> end = Event::create(context_, EventUse::timing);
  TAKT_ASSERT_OK(end);
  constexpr std::chrono::milliseconds kLong(20);
  constexpr unsigned long long kLongNs = std::chrono::nanoseconds(kLong).count();
  TAKT_ASSERT_OK(begin->record(*stream_));
  TAKT_ASSERT_OK(kernel->launch(*stream_, {}, kLongNs));
  TAKT_ASSERT_OK(end->record(*stream_));
  const Result<bool> at_once = end->reached();
  TAKT_ASSERT_OK(at_once);
  EXPECT_FALSE(*at_once);
  TAKT_ASSERT_OK(end->synchronize());
  const Result<bool> later = end->reached();
  TAKT_ASSERT_OK(later);
  EXPECT_TRUE(*later);
  const Result<Duration> elapsed = Event::elapsed(*begin, *end);
  TAKT_ASSERT_OK(elapsed);
  EXPECT_GE(*elapsed, kLong - std::chrono::milliseconds(1));
  EXPECT_LT(*elapsed, 10 * kLong);
}

TEST_F(GpuCompute, AStreamWaitsForTheEventOfAnother) {
  const Result<Kernel> spin = build(kSpin, "spin");
  TAKT_ASSERT_OK(spin);
  const Result<Kernel> add_one = build(kAddOne, "add_one");
  TAKT_ASSERT_OK(add_one);
  const Result<Stream> other = Stream::create(context_);
  TAKT_ASSERT_OK(other);
  const Result<Event> event = Event::create(context_, EventUse::ordering);
  TAKT_ASSERT_OK(event);
  const auto memory = to_device(std::vector<unsigned>{0});
  TAKT_ASSERT_OK(memory);
  TAKT_ASSERT_OK(spin->launch(*stream_, {}, 20'000'000ULL));
  TAKT_ASSERT_OK(add_one->launch(*stream_, {}, memory->span().address, 1U));
  TAKT_ASSERT_OK(event->record(*stream_));
  TAKT_ASSERT_OK(other->wait(*event));
  unsigned number = 0;
  TAKT_ASSERT_OK(
      copy_to_host(std::as_writable_bytes(std::span(&number, 1)), memory->span(), *other));
  TAKT_ASSERT_OK(other->synchronize());
  EXPECT_EQ(number, 1U);
}

TEST_F(GpuCompute, AKernelThatIsNotInTheModuleIsNamed) {
  const Result<Kernel> kernel = build("extern \"C\" __global__ void there() {}", "missing");
  ASSERT_FALSE(kernel.has_value());
  EXPECT_EQ(kernel.error().kind, ErrorKind::internal);
  EXPECT_THAT(kernel.error().message, testing::HasSubstr("kernel missing: cuModuleGetFunction"));
}

}  // namespace
}  // namespace takt::cuda
