// SPDX-License-Identifier: Apache-2.0
// The kept inputs of every fuzz target, run once, without a fuzzer.
#include "target.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace takt::fuzz {
namespace {

namespace fs = std::filesystem;

fs::path corpus() {
  return fs::path(TAKT_SOURCE_DIR) / "tests" / "fuzz" / "corpus";
}

Bytes read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void write(const fs::path& file, const Bytes& bytes) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

class Corpus : public ::testing::TestWithParam<Target> {};

TEST_P(Corpus, EveryKeptInputHoldsTheInvariants) {
  const Target& target = GetParam();
  std::size_t inputs = 0;
  if (!fs::exists(corpus() / target.name)) FAIL() << "no corpus; run with TAKT_WRITE_SEEDS=1";
  for (const fs::directory_entry& file : fs::directory_iterator(corpus() / target.name)) {
    SCOPED_TRACE(file.path().string());
    target.run(read(file.path()));
    ++inputs;
  }
  EXPECT_GE(inputs, target.seeds().size());
}

// A fuzzer whose seeds no decoder knows any more searches in the dark. After a change of the format:
// TAKT_WRITE_SEEDS=1 build/takt-fuzz-tests
TEST_P(Corpus, SeedsAreWhatTheEncodersWrite) {
  const Target& target = GetParam();
  for (const Seed& seed : target.seeds()) {
    const fs::path file = corpus() / target.name / ("seed-" + seed.name);
    if (std::getenv("TAKT_WRITE_SEEDS") != nullptr) write(file, seed.bytes);
    EXPECT_EQ(read(file), seed.bytes) << file << " is old; run with TAKT_WRITE_SEEDS=1";
  }
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Corpus,
                         ::testing::Values(batch_wire(), http_connection(), http_parts(),
                                           infer_request(), json_call(), model_config(),
                                           onnx_import(), picture(), plan_file(), review_decision(),
                                           ring(), slots(), string_tensor(), takt_yaml(),
                                           worker_protocol()),
                         [](const auto& each) { return each.param.name; });

TEST(FuzzCorpus, IsSmall) {
  constexpr std::size_t kBytesMax = std::size_t{200} * 1024;
  std::size_t bytes = 0;
  for (const fs::directory_entry& file : fs::recursive_directory_iterator(corpus())) {
    if (file.is_regular_file()) bytes += file.file_size();
  }
  EXPECT_LT(bytes, kBytesMax) << "keep what reaches new code: takt-fuzz-NAME -merge=1";
}

}  // namespace
}  // namespace takt::fuzz
