// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/plan_file.h"

#include "backend/cuda/compile/sha256.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <thread>

namespace takt::cuda {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text) {
  const auto raw = std::as_bytes(std::span(text));
  return {raw.begin(), raw.end()};
}

PlanKey a_key() {
  PlanKey key;
  key.model_name = "resnet50-1";
  key.model_sha256 = sha256_hex("model");
  key.takt_version = "0.9.0";
  key.device_name = "NVIDIA H200";
  key.capability = "9.0";
  key.sm_count = 132;
  key.driver_cuda_version = "13.0";
  key.cudnn_version = "9.19.0";
  return key;
}

void put(PieceStore& store, std::string_view kind, std::string_view key, std::string_view bytes) {
  ASSERT_TRUE(store.put(kind, key, bytes_of(bytes)));
}

std::unique_ptr<PieceStore> some_pieces() {
  auto store = std::make_unique<PieceStore>();
  put(*store, kKernelPiece, sha256_hex("b"), "cubin");
  put(*store, kChoicePiece, sha256_hex("a"), "");
  put(*store, kCudnnPiece, sha256_hex("c"), "{\"plan\": 3}");
  return store;
}

std::string text_of(std::optional<std::span<const std::byte>> bytes) {
  if (!bytes) return "nothing";
  return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
}

std::string refusal(Bytes file) {
  const Result<Plan> plan = parse_plan(std::move(file));
  if (plan) return "read";
  EXPECT_EQ(plan.error().kind, ErrorKind::invalid_input);
  return plan.error().message;
}

// As if whoever changed the file had meant it.
Bytes with_sums(Bytes file) {
  const std::uint64_t size = file.size();
  std::memcpy(file.data() + 12, &size, sizeof(size));
  const Digest digest = sha256(std::span(file).first(file.size() - sizeof(Digest)));
  std::ranges::copy(digest, file.end() - sizeof(Digest));
  return file;
}

TEST(PieceStore, FindsWhatWasPutAndCounts) {
  const auto store = some_pieces();
  EXPECT_EQ(text_of(store->find(kKernelPiece, sha256_hex("b"))), "cubin");
  EXPECT_EQ(text_of(store->find(kChoicePiece, sha256_hex("a"))), "");
  EXPECT_EQ(text_of(store->find(kChoicePiece, sha256_hex("b"))), "nothing");
  EXPECT_EQ(store->counts().hits, 2U);
  EXPECT_EQ(store->counts().misses, 1U);
}

TEST(PieceStore, KeepsTheFirstOfAName) {
  const auto store = some_pieces();
  const auto before = store->find(kKernelPiece, sha256_hex("b"));
  put(*store, kKernelPiece, sha256_hex("b"), "another");
  const auto after = store->find(kKernelPiece, sha256_hex("b"));
  EXPECT_EQ(before->data(), after->data());
}

TEST(PieceStore, ReplacesAPieceAndKeepsTheBytesThatOthersSee) {
  const auto store = some_pieces();
  const std::size_t bytes = store->bytes();
  const auto before = store->find(kKernelPiece, sha256_hex("b"));
  ASSERT_TRUE(store->replace(kKernelPiece, sha256_hex("b"), bytes_of("another")));
  EXPECT_EQ(text_of(before), "cubin");
  EXPECT_EQ(text_of(store->find(kKernelPiece, sha256_hex("b"))), "another");
  EXPECT_EQ(store->pieces().size(), 3U);
  EXPECT_EQ(store->bytes(), bytes + 2);
  ASSERT_TRUE(store->replace(kKernelPiece, sha256_hex("new"), bytes_of("first")));
  EXPECT_EQ(text_of(store->find(kKernelPiece, sha256_hex("new"))), "first");
}

TEST(PieceStore, CountsWhatIsWritten) {
  const auto store = some_pieces();
  EXPECT_EQ(store->counts().writes, 3U);
  put(*store, kKernelPiece, sha256_hex("b"), "stays out");
  EXPECT_EQ(store->counts().writes, 3U);
  ASSERT_TRUE(store->replace(kKernelPiece, sha256_hex("b"), bytes_of("other")));
  EXPECT_EQ(store->counts().writes, 4U);
}

TEST(PieceStore, LeavesBytesThatItRefusesToTheCaller) {
  PieceStore store;
  Bytes bytes = bytes_of("cubin");
  EXPECT_FALSE(store.put("", "key", std::move(bytes)));
  EXPECT_EQ(bytes, bytes_of("cubin"));  // NOLINT(bugprone-use-after-move): that is the promise
}

TEST(PieceStore, FindsByTheBeginOfAKey) {
  PieceStore store;
  put(store, "kernel", "ab-12.9", "new");
  put(store, "kernel", "ab-12.4", "old");
  put(store, "other", "cd-1", "other");
  EXPECT_EQ(text_of(store.find_prefix("kernel", "ab-")), "old");
  EXPECT_EQ(text_of(store.find_prefix("kernel", "ab-12.9")), "new");
  EXPECT_EQ(text_of(store.find_prefix("kernel", "b")), "nothing");
  EXPECT_EQ(text_of(store.find_prefix("kernel", "cd")), "nothing");
  EXPECT_EQ(text_of(store.find_prefix("a", "")), "nothing");
}

// Two programs that tune at the same time: the last one to write keeps what the first one found out.
TEST(PieceStore, TakesFromAnotherWhatItLacks) {
  const auto ours = some_pieces();
  PieceStore theirs;
  put(theirs, kKernelPiece, sha256_hex("b"), "theirs");
  put(theirs, kKernelPiece, sha256_hex("new"), "only theirs");
  ours->add_missing(theirs);
  EXPECT_EQ(text_of(ours->find(kKernelPiece, sha256_hex("b"))), "cubin");
  EXPECT_EQ(text_of(ours->find(kKernelPiece, sha256_hex("new"))), "only theirs");
  EXPECT_EQ(ours->pieces().size(), 4U);
}

TEST(PieceStore, RefusesNamesThatDontFitIntoAFile) {
  PieceStore store;
  const std::string long_name(kPieceNameBytesMax + 1, 'x');
  EXPECT_FALSE(store.put("", "key", {}));
  EXPECT_FALSE(store.put("kind", "", {}));
  EXPECT_EQ(store.put("kind", long_name, {}).error().kind, ErrorKind::invalid_input);
  EXPECT_EQ(store.bytes(), 0U);
}

TEST(PieceStore, IsFilledBySeveralThreads) {
  PieceStore store;
  constexpr int kEach = 200;
  const auto fill = [&store](int first) {
    for (int i = first; i < first + kEach; ++i) put(store, "choice", std::to_string(i), "x");
  };
  std::thread other([&fill] { fill(kEach / 2); });
  fill(0);
  other.join();
  EXPECT_EQ(store.pieces().size(), kEach + kEach / 2U);
}

TEST(PlanFile, GivesBackWhatWasWritten) {
  const auto store = some_pieces();
  const Result<Plan> plan = parse_plan(plan_bytes(a_key(), *store));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->key, a_key());
  EXPECT_EQ(text_of(plan->pieces->find(kKernelPiece, sha256_hex("b"))), "cubin");
  EXPECT_EQ(plan->pieces->bytes(), store->bytes());
  EXPECT_EQ(plan_bytes(plan->key, *plan->pieces), plan_bytes(a_key(), *store));
}

TEST(PlanFile, TakesMorePiecesAfterReading) {
  const Result<Plan> plan = parse_plan(plan_bytes(a_key(), *some_pieces()));
  put(*plan->pieces, kKernelPiece, sha256_hex("new"), "more");
  const Result<Plan> again = parse_plan(plan_bytes(plan->key, *plan->pieces));
  ASSERT_TRUE(again);
  EXPECT_EQ(text_of(again->pieces->find(kKernelPiece, sha256_hex("new"))), "more");
  EXPECT_EQ(text_of(again->pieces->find(kKernelPiece, sha256_hex("b"))), "cubin");
}

TEST(PlanFile, MayHoldNothing) {
  const Result<Plan> plan = parse_plan(plan_bytes({}, {}));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->key, PlanKey{});
}

TEST(PlanFile, KeepsNamesThatAreNoUtf8) {
  PlanKey key = a_key();
  key.model_name = "in\xff";
  const Result<Plan> plan = parse_plan(plan_bytes(key, {}));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_TRUE(check_key(key, plan->key));
}

TEST(PlanFile, IsRefusedAtEveryLengthButItsOwn) {
  Bytes file = plan_bytes(a_key(), *some_pieces());
  for (std::size_t length = 0; length < file.size(); ++length) {
    const std::string said = refusal(Bytes(file.begin(), file.begin() + std::ptrdiff_t(length)));
    EXPECT_THAT(said, HasSubstr(length < 8 ? "not a plan file" : "truncated")) << length;
  }
  file.push_back({});
  EXPECT_THAT(refusal(file), HasSubstr("goes on behind its end"));
}

TEST(PlanFile, IsRefusedWithAnyBitFlipped) {
  const Bytes file = plan_bytes(a_key(), *some_pieces());
  for (std::size_t bit = 0; bit < 8 * file.size(); ++bit) {
    Bytes flipped = file;
    flipped[bit / 8] ^= std::byte(1U << bit % 8);
    EXPECT_THAT(refusal(std::move(flipped)), HasSubstr("; takt compile makes it again")) << bit;
  }
}

TEST(PlanFile, IsReadWithinItsBoundsEvenWithTheRightSums) {
  const Bytes file = plan_bytes(a_key(), *some_pieces());
  for (std::size_t bit = 8 * 20; bit < 8 * (file.size() - sizeof(Digest)); ++bit) {
    Bytes flipped = file;
    flipped[bit / 8] ^= std::byte(1U << bit % 8);
    flipped = with_sums(std::move(flipped));
    const Result<Plan> plan = parse_plan(flipped);
    EXPECT_TRUE(!plan || plan_bytes(plan->key, *plan->pieces) == flipped) << bit;
  }
  for (std::size_t length = 20 + sizeof(Digest); length < file.size(); ++length) {
    const Bytes cut = with_sums(Bytes(file.begin(), file.begin() + std::ptrdiff_t(length)));
    EXPECT_THAT(refusal(cut), HasSubstr("damaged")) << length;
  }
}

TEST(PlanFile, SaysThatItsFormatIsAnother) {
  Bytes file = plan_bytes(a_key(), {});
  file[8] = std::byte{9};
  EXPECT_THAT(refusal(file), HasSubstr("a plan of format 9, but this takt reads format 1"));
}

RC_GTEST_PROP(PlanFile, GivesBackAnyPieces,
              (const std::map<std::string, std::vector<std::uint8_t>>& pieces)) {
  PieceStore store;
  std::size_t put = 0;
  for (const auto& [key, content] : pieces) {
    const auto raw = std::as_bytes(std::span(content));
    if (store.put("kernel", key, Bytes(raw.begin(), raw.end()))) ++put;
  }
  const Result<Plan> plan = parse_plan(plan_bytes(a_key(), store));
  RC_ASSERT(plan.has_value());
  RC_ASSERT(plan->pieces->pieces().size() == put);
  RC_ASSERT(plan_bytes(plan->key, *plan->pieces) == plan_bytes(a_key(), store));
}

TEST(PlanKey, SaysWhatDiffers) {
  PlanKey here = a_key();
  here.model_name = "renamed";
  EXPECT_TRUE(check_key(here, a_key()));
  here.device_name = "NVIDIA L4";
  here.sm_count = 66;
  const Result<void> checked = check_key(here, a_key());
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().kind, ErrorKind::invalid_input);
  EXPECT_EQ(
      checked.error().message,
      "made under other conditions (device_name from \"NVIDIA H200\" to \"NVIDIA L4\", sm_count "
      "from 132 to 66); takt compile makes it again");
}

TEST(PlanKey, NamesTheFile) {
  const std::string name = plan_path("/cache", a_key()).string();
  EXPECT_THAT(name, ::testing::MatchesRegex("/cache/[0-9a-f]+-[0-9a-f]+\\.taktplan"));
  PlanKey other = a_key();
  other.model_name = "../../etc/x y";
  EXPECT_EQ(plan_path("/cache", other), name);
  other.sm_count = 66;
  EXPECT_NE(plan_path("/cache", other), name);
}

class PlanFolder : public ::testing::Test {
 protected:
  void TearDown() override { fs::remove_all(folder_); }
  [[nodiscard]] const fs::path& folder() const { return folder_; }

 private:
  fs::path folder_ = fs::temp_directory_path() / ("takt-plan-file-" + std::to_string(::getpid()));
};

TEST_F(PlanFolder, IsMadeAndHoldsOnlyTheFile) {
  const fs::path file = plan_path(folder() / "plans", a_key());
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(write_plan(file, a_key(), *some_pieces()));
  const Result<Plan> plan = read_plan(file);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->key, a_key());
  EXPECT_EQ(std::distance(fs::directory_iterator(file.parent_path()), {}), 1);
}

TEST_F(PlanFolder, GivesTheFileThePermissionsOfAnyOther) {
  const fs::path file = folder() / "a.taktplan";
  ASSERT_TRUE(write_plan(file, a_key(), {}));
  std::ofstream(folder() / "other") << "x";
  EXPECT_EQ(fs::status(file).permissions(), fs::status(folder() / "other").permissions());
}

TEST_F(PlanFolder, WithoutAPlanIsNoDamage) {
  const Result<Plan> plan = read_plan(folder() / "no.taktplan");
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(plan.error().message, HasSubstr("no.taktplan: no such plan"));
  EXPECT_EQ(read_plan("/dev/zero").error().kind, ErrorKind::unavailable);
}

TEST_F(PlanFolder, NamesTheDamagedFile) {
  fs::create_directories(folder());
  std::ofstream(folder() / "a.taktplan") << "taktpla";
  EXPECT_THAT(read_plan(folder() / "a.taktplan").error().message,
              AllOf(HasSubstr("a.taktplan: not a plan file"), HasSubstr("takt compile")));
}

TEST_F(PlanFolder, ThatCantBeWrittenIsNamed) {
  const Result<void> written = write_plan("/proc/no/a.taktplan", a_key(), {});
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(written.error().message, HasSubstr("/proc/no/a.taktplan: can't be written"));
}

TEST_F(PlanFolder, IsTriedWithoutLeavingAFileOrTouchingThePlan) {
  const fs::path file = folder() / "plans" / "a.taktplan";
  ASSERT_TRUE(check_writable(file));
  EXPECT_TRUE(fs::is_empty(file.parent_path()));
  ASSERT_TRUE(write_plan(file, a_key(), *some_pieces()));
  ASSERT_TRUE(check_writable(file));
  EXPECT_TRUE(read_plan(file));
  EXPECT_EQ(std::distance(fs::directory_iterator(file.parent_path()), {}), 1);
}

TEST_F(PlanFolder, ThatCouldNotBeWrittenIsNamedBefore) {
  fs::create_directories(folder() / "a.taktplan");
  std::ofstream(folder() / "file") << "x";
  for (const fs::path& file : {fs::path("/proc/no/a.taktplan"), folder() / "a.taktplan",
                               folder() / "file" / "a.taktplan"}) {
    const Result<void> checked = check_writable(file);
    ASSERT_FALSE(checked) << file;
    EXPECT_EQ(checked.error().kind, ErrorKind::unavailable);
    EXPECT_THAT(checked.error().message, HasSubstr(file.string() + ": can't be written"));
  }
}

}  // namespace
}  // namespace takt::cuda
