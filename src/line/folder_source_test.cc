// SPDX-License-Identifier: Apache-2.0
#include "line/folder_source.h"

#include "image/encode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

namespace takt::line {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kWidth = 16;
constexpr int kHeight = 8;
constexpr std::ptrdiff_t kPixels = std::ptrdiff_t{kWidth} * kHeight;

class FolderSource : public ::testing::Test {
 public:
  FolderSource() {
    std::string name = (fs::temp_directory_path() / "takt-test-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    options_.directory = name;
    options_.roles = {{"board", "{id}_test.png"}, {"golden", "{id}_temp.png"}};
    make_pool(8);
  }
  ~FolderSource() override {
    std::error_code ignored;
    fs::remove_all(options_.directory, ignored);
  }

 protected:
  void make_pool(std::uint32_t slots) {
    const SizeClass size{std::size_t{64} * 1024, slots};
    pool_ = SlotPool::create("test", {&size, 1}).value();
  }
  fs::path write(const std::string& name, std::string_view bytes) {
    std::ofstream(options_.directory / name, std::ios::binary) << bytes;
    return options_.directory / name;
  }
  static std::string png(int width, int height, std::uint8_t fill) {
    const Image image(width, height, PixelFormat::gray8, fill);
    std::vector<std::byte> bytes;
    EXPECT_TRUE(encode_png(image.view(), bytes).has_value());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // A pair whose board is filled with `fill`, the golden with the next value.
  void write_pair(const std::string& id, std::uint8_t fill) {
    write(id + "_test.png", png(kWidth, kHeight, fill));
    write(id + "_temp.png", png(kWidth, kHeight, static_cast<std::uint8_t>(fill + 1)));
  }
  std::unique_ptr<Source> open() {
    Result<std::unique_ptr<Source>> source = make_folder_source(options_, pool_, clock_);
    EXPECT_TRUE(source.has_value()) << source.error().message;
    return source ? std::move(*source) : nullptr;
  }
  std::string error_of() {
    const Result<std::unique_ptr<Source>> source = make_folder_source(options_, pool_, clock_);
    return source ? "no error" : source.error().message;
  }
  Frame only_frame() {
    const std::unique_ptr<Source> source = open();
    std::optional<Frame> frame = source->next();
    EXPECT_TRUE(frame.has_value());
    EXPECT_FALSE(source->next().has_value());
    return frame.value_or(Frame{});
  }
  std::string damage_of_only_frame() {
    const Frame frame = only_frame();
    return frame.damage ? frame.damage->message : "no damage";
  }

  FolderOptions options_;
  std::shared_ptr<SlotPool> pool_;
  SystemClock clock_;
};

TEST_F(FolderSource, PairsByPatternLieOneAfterTheOtherInOneSlot) {
  options_.recipe = "r1";
  write_pair("0002", 40);
  write_pair("0001", 20);
  write("0001.txt", "not an image");
  const std::unique_ptr<Source> source = open();
  EXPECT_EQ(source->total(), 2U);
  const std::optional<Frame> frame = source->next();
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(frame->name, "0001_test");
  EXPECT_EQ(frame->part_id, "0001");
  EXPECT_EQ(frame->trigger_seq, 1U);
  EXPECT_EQ(frame->recipe, "r1");
  EXPECT_FALSE(frame->damage.has_value());
  EXPECT_FALSE(frame->truth_known);
  ASSERT_EQ(frame->images.size(), 2U);
  const ImageView& board = frame->images[0].view;
  const ImageView& golden = frame->images[1].view;
  EXPECT_EQ(frame->images[0].role, "board");
  EXPECT_EQ(frame->images[1].role, "golden");
  EXPECT_EQ(board.pixels[0], 20);
  EXPECT_EQ(golden.row(kHeight - 1)[kWidth - 1], 21);
  EXPECT_EQ(golden.pixels, board.pixels + kPixels);
  EXPECT_EQ(frame->images[0].slot.index(), frame->images[1].slot.index());
  EXPECT_EQ(source->next()->part_id, "0002");
  EXPECT_FALSE(source->next().has_value());
  EXPECT_FALSE(source->next().has_value()) << "the end stays the end";
}

TEST_F(FolderSource, WithoutAPatternEveryImageIsAFrame) {
  options_.roles.clear();
  write("b.png", png(kWidth, kHeight, 2));
  write("a.PNG", png(kWidth, kHeight, 1));
  write("c.txt", "no image");
  write(".hidden.png", png(kWidth, kHeight, 3));
  const std::unique_ptr<Source> source = open();
  EXPECT_EQ(source->total(), 2U);
  const std::optional<Frame> frame = source->next();
  EXPECT_EQ(frame->name, "a");
  EXPECT_EQ(frame->part_id, "a");
  ASSERT_EQ(frame->images.size(), 1U);
  EXPECT_EQ(frame->images[0].role, "board");
  EXPECT_EQ(source->next()->name, "b");
}

TEST_F(FolderSource, DecodesToTheFormatAskedFor) {
  options_.format = PixelFormat::rgb8;
  write_pair("1", 50);
  const Frame frame = only_frame();
  ASSERT_EQ(frame.images.size(), 2U);
  EXPECT_EQ(frame.images[0].view.format, PixelFormat::rgb8);
  EXPECT_EQ(frame.images[0].view.row(1)[3 * kWidth - 1], 50);
  EXPECT_EQ(frame.images[1].view.pixels, frame.images[0].view.pixels + 3 * kPixels);
}

TEST_F(FolderSource, RepeatsWithCountedTriggers) {
  options_.repeat = 3;
  write_pair("1", 1);
  write_pair("2", 2);
  const std::unique_ptr<Source> source = open();
  EXPECT_EQ(source->total(), 6U);
  for (std::uint64_t i = 1; i <= 6; ++i) {
    const std::optional<Frame> frame = source->next();
    ASSERT_TRUE(frame.has_value());
    EXPECT_EQ(frame->trigger_seq, i);
    EXPECT_EQ(frame->part_id, i % 2 == 1 ? "1" : "2");
  }
  EXPECT_FALSE(source->next().has_value());
}

TEST_F(FolderSource, SeveralDecodeThreadsKeepTheOrder) {
  options_.decode_threads = 4;
  options_.prefetch = 6;
  options_.repeat = 20;
  for (int i = 0; i < 10; ++i)
    write_pair("00" + std::to_string(i), static_cast<std::uint8_t>(10 * i));
  const std::unique_ptr<Source> source = open();
  for (std::uint64_t i = 0; i < 200; ++i) {
    const std::optional<Frame> frame = source->next();
    ASSERT_TRUE(frame.has_value());
    ASSERT_EQ(frame->trigger_seq, i + 1);
    ASSERT_FALSE(frame->damage.has_value()) << frame->damage->message;
    ASSERT_EQ(frame->images[0].view.pixels[7], 10 * (i % 10)) << "its own pixels";
  }
  EXPECT_FALSE(source->next().has_value());
  EXPECT_EQ(pool_->in_use(), 0U) << "every slot came back";
}

TEST_F(FolderSource, FewerSlotsThanPrefetchNeverStallsTheNextFrame) {
  make_pool(2);
  options_.decode_threads = 4;
  options_.prefetch = 8;
  options_.repeat = 50;
  write_pair("1", 1);
  write_pair("2", 2);
  const std::unique_ptr<Source> source = open();
  for (int i = 0; i < 100; ++i) {
    const std::optional<Frame> frame = source->next();
    ASSERT_TRUE(frame.has_value());
    ASSERT_FALSE(frame->damage.has_value()) << frame->damage->message;
  }
}

TEST_F(FolderSource, WithoutAFreeSlotTheFrameComesDamaged) {
  make_pool(1);
  options_.slot_wait_max = Duration::zero();
  options_.prefetch = 1;
  write_pair("1", 1);
  write_pair("2", 2);
  const std::unique_ptr<Source> source = open();
  const std::optional<Frame> holder = source->next();
  const std::optional<Frame> frame = source->next();
  ASSERT_TRUE(frame.has_value());
  ASSERT_TRUE(frame->damage.has_value());
  EXPECT_EQ(frame->damage->kind, ErrorKind::out_of_memory);
  EXPECT_EQ(frame->part_id, "2");
  EXPECT_TRUE(frame->images.empty());
}

TEST_F(FolderSource, AMissingGoldenIsNamedAndTheBoardStillShown) {
  write_pair("7", 1);
  fs::remove(options_.directory / "7_temp.png");
  const Frame frame = only_frame();
  ASSERT_TRUE(frame.damage.has_value());
  EXPECT_EQ(frame.damage->kind, ErrorKind::invalid_input);
  EXPECT_EQ(frame.damage->message, "golden 7_temp.png: no such file");
  ASSERT_EQ(frame.images.size(), 1U);
  EXPECT_EQ(frame.images[0].role, "board");
}

TEST_F(FolderSource, DamagedFilesBecomeDamagedFramesAndTheRestGoesOn) {
  write_pair("1", 1);
  const std::string whole = png(kWidth, kHeight, 9);
  write("2_test.png", std::string_view(whole).substr(0, whole.size() / 2));
  write("2_temp.png", whole);
  write("3_test.png", "");
  write("3_temp.png", whole);
  write("4_test.png", "hello");
  write("4_temp.png", whole);
  write_pair("5", 5);
  const std::unique_ptr<Source> source = open();
  EXPECT_FALSE(source->next()->damage.has_value());
  for (const char* id : {"2", "3", "4"}) {
    const std::optional<Frame> frame = source->next();
    ASSERT_TRUE(frame->damage.has_value()) << id;
    EXPECT_EQ(frame->damage->kind, ErrorKind::invalid_input);
    EXPECT_THAT(frame->damage->message, HasSubstr("board " + std::string(id) + "_test.png: "));
    ASSERT_EQ(frame->images.size(), 1U) << "the golden could be read";
    EXPECT_EQ(frame->images[0].role, "golden");
    EXPECT_EQ(frame->images[0].view.pixels[0], 9);
  }
  EXPECT_FALSE(source->next()->damage.has_value());
}

TEST_F(FolderSource, BoardAndGoldenOfDifferentSizeDoNotMatch) {
  write("1_test.png", png(kWidth, kHeight, 1));
  write("1_temp.png", png(kWidth, kHeight + 1, 1));
  EXPECT_THAT(damage_of_only_frame(),
              AllOf(HasSubstr("golden 1_temp.png"), HasSubstr("16x9"), HasSubstr("16x8")));
}

TEST_F(FolderSource, TooLargeAnImageIsNotDecoded) {
  write("1_test.png", png(kWidth, kHeight, 1));
  write("1_temp.png", png(kWidth, kHeight, 1));
  options_.limits.width_max = kWidth - 1;
  EXPECT_THAT(damage_of_only_frame(), HasSubstr("board 1_test.png"));
  options_.limits = {};
  options_.limits.file_bytes_max = 20;
  EXPECT_THAT(damage_of_only_frame(), HasSubstr("at most 20"));
}

TEST_F(FolderSource, LargerThanEverySlotIsDamage) {
  options_.roles.clear();
  write("1.png", png(512, 512, 1));
  const Frame frame = only_frame();
  ASSERT_TRUE(frame.damage.has_value());
  EXPECT_EQ(frame.damage->kind, ErrorKind::invalid_input);
}

TEST_F(FolderSource, APipeOrFolderInPlaceOfAFileDoesNotBlock) {
  write_pair("1", 1);
  fs::remove(options_.directory / "1_temp.png");
  ASSERT_EQ(::mkfifo((options_.directory / "1_temp.png").c_str(), 0600), 0);
  EXPECT_THAT(damage_of_only_frame(), HasSubstr("not a regular file"));
  fs::remove(options_.directory / "1_temp.png");
  fs::create_directory(options_.directory / "1_temp.png");
  EXPECT_THAT(damage_of_only_frame(), HasSubstr("not a regular file"));
}

TEST_F(FolderSource, OneGoldenMayServeAllBoards) {
  options_.roles[1].pattern = "golden.png";
  write("1_test.png", png(kWidth, kHeight, 1));
  write("golden.png", png(kWidth, kHeight, 200));
  EXPECT_EQ(only_frame().images[1].view.pixels[0], 200);
}

TEST_F(FolderSource, StopFromAnotherThreadEndsAWait) {
  options_.frames_per_second = 0.001;
  options_.repeat = 0;
  write_pair("1", 1);
  const std::unique_ptr<Source> source = open();
  EXPECT_FALSE(source->total().has_value());
  ASSERT_TRUE(source->next().has_value());
  std::jthread stopper([&] { source->stop(); });
  EXPECT_FALSE(source->next().has_value()) << "the next frame is due in a quarter of an hour";
}

TEST_F(FolderSource, StopEndsAWaitForASlot) {
  make_pool(1);
  options_.repeat = 0;
  write_pair("1", 1);
  const std::unique_ptr<Source> source = open();
  const std::optional<Frame> holder = source->next();
  std::jthread stopper([&] { source->stop(); });
  EXPECT_FALSE(source->next().has_value());
}

TEST_F(FolderSource, FramesCarryTheTimeAtWhichTheyWereDue) {
  ManualClock clock(TimePoint(std::chrono::seconds(5)));
  options_.frames_per_second = 10;
  options_.repeat = 0;
  write_pair("1", 1);
  const std::unique_ptr<Source> source = make_folder_source(options_, pool_, clock).value();
  EXPECT_EQ(source->next()->captured, TimePoint(std::chrono::seconds(5)));
  clock.advance(std::chrono::milliseconds(100));
  const std::optional<Frame> frame = source->next();
  EXPECT_EQ(frame->captured, TimePoint(std::chrono::milliseconds(5100)));
  EXPECT_EQ(frame->captured_wall_us, 5'100'000);
}

TEST_F(FolderSource, BadOptionsAreNamed) {
  EXPECT_THAT(error_of(), AllOf(HasSubstr("no file matches"), HasSubstr("{id}_test.png")));
  write_pair("1", 1);
  options_.decode_threads = 0;
  EXPECT_THAT(error_of(), HasSubstr("decode_threads is 0"));
  options_.decode_threads = 1;
  options_.prefetch = 1000;
  EXPECT_THAT(error_of(), HasSubstr("prefetch is 1000"));
  options_.prefetch = 4;
  options_.frames_per_second = -1;
  EXPECT_THAT(error_of(), HasSubstr("frames_per_second"));
  options_.frames_per_second = 0;
  options_.roles[1].role = "board";
  EXPECT_THAT(error_of(), HasSubstr("'board' stands twice"));
  options_.roles = {{"board", "board.png"}};
  EXPECT_THAT(error_of(), HasSubstr("needs {id}"));
  options_.files_max = 0;
  options_.roles = {{"board", "{id}_test.png"}};
  EXPECT_THAT(error_of(), HasSubstr("more than 0 files"));
  options_.directory /= "none";
  EXPECT_THAT(error_of(), HasSubstr("no such folder"));
}

TEST_F(FolderSource, SaysWhatItReads) {
  write_pair("1", 1);
  EXPECT_THAT(open()->describe(), AllOf(HasSubstr(options_.directory.string()),
                                        HasSubstr("({id}_test.png, {id}_temp.png), 1 frames")));
}

}  // namespace
}  // namespace takt::line
