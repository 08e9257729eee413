// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/nvrtc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace takt::cuda {
namespace {

using testing::HasSubstr;

// Every part of the prelude, for the type Element.
constexpr std::string_view kEveryPart = R"(
extern "C" __global__ void add(const Element* left, const Element* right, Element* sum) {
  using Four = takt::Elements<Element, 4>;
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  const Four a = reinterpret_cast<const Four*>(left)[i];
  const Four b = reinterpret_cast<const Four*>(right)[i];
  Four c;
  for (int k = 0; k < 4; ++k) {
    c.at[k] = takt::from_float<Element>(takt::to_float(a.at[k]) + takt::to_float(b.at[k]));
  }
  reinterpret_cast<Four*>(sum)[i] = c;
}
)";

std::string every_part(std::string_view element) {
  return "#include <takt_kernel.h>\nusing Element = " + std::string(element) + ";" +
         std::string(kEveryPart);
}

class Compiler : public testing::Test {
 protected:
  void SetUp() override {
    const LibrarySearch search{.folders = {}, .environments = {TAKT_VENV}};
    Result<Nvrtc> opened = Nvrtc::open(search, 13);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    nvrtc_ = std::make_unique<Nvrtc>(*std::move(opened));
  }
  std::unique_ptr<Nvrtc> nvrtc_;
};

void expect_elf(const Result<std::vector<std::byte>>& code) {
  ASSERT_TRUE(code.has_value()) << code.error().message;
  ASSERT_GT(code->size(), 4U);
  EXPECT_EQ(std::memcmp(code->data(),
                        "\x7f"
                        "ELF",
                        4),
            0);
}

class CompilerFor : public Compiler, public testing::WithParamInterface<ComputeCapability> {};

TEST_P(CompilerFor, ThePreludeCompilesForEveryElementType) {
  for (const std::string_view element : {"float", "takt::fp16", "takt::bf16"}) {
    expect_elf(nvrtc_->compile(every_part(element), "every_part.cu", GetParam()));
  }
}

INSTANTIATE_TEST_SUITE_P(Capabilities, CompilerFor,
                         testing::Values(ComputeCapability{7, 5}, ComputeCapability{8, 0},
                                         ComputeCapability{9, 0}, ComputeCapability{10, 0}),
                         [](const auto& tested) {
                           return "sm_" + std::to_string(tested.param.major) +
                                  std::to_string(tested.param.minor);
                         });

TEST_F(Compiler, ItComesFromTheWheelAndSaysItsVersion) {
  EXPECT_THAT(nvrtc_->file().string(), HasSubstr("site-packages/nvidia/cu13/lib/libnvrtc.so.13"));
  EXPECT_GE(nvrtc_->version(), 13000);
}

TEST_F(Compiler, AnErrorHasTheLogWithTheLineOfTheSource) {
  const Result<std::vector<std::byte>> code =
      nvrtc_->compile("#include <takt_kernel.h>\n\nint broken = missing;\n", "conv_3.cu", {9, 0});
  ASSERT_FALSE(code.has_value());
  EXPECT_EQ(code.error().kind, ErrorKind::internal);
  EXPECT_THAT(code.error().message, HasSubstr("conv_3.cu(3)"));
  EXPECT_THAT(code.error().message, HasSubstr("\"missing\" is undefined"));
}

TEST_F(Compiler, ADeviceThatItDoesNotKnowIsUnavailable) {
  const Result<std::vector<std::byte>> code = nvrtc_->compile("", "empty.cu", {42, 0});
  ASSERT_FALSE(code.has_value());
  EXPECT_EQ(code.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(code.error().message, HasSubstr("compute capability 42.0"));
  EXPECT_THAT(code.error().message, HasSubstr("nvidia-cuda-nvrtc"));
}

TEST_F(Compiler, SeveralThreadsCompileAtOnce) {
  std::vector<Result<std::vector<std::byte>>> codes(4);
  {
    std::vector<std::jthread> threads;
    for (auto& code : codes) {
      threads.emplace_back(
          [&] { code = nvrtc_->compile(every_part("float"), "every_part.cu", {9, 0}); });
    }
  }
  for (const auto& code : codes) expect_elf(code);
}

}  // namespace
}  // namespace takt::cuda
