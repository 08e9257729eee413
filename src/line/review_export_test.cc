// SPDX-License-Identifier: Apache-2.0
#include "line/review_export.h"

#include "line/review_fixture.h"
#include "line/training_set.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <set>
#include <sstream>

namespace takt::line {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using Files = std::map<std::string, std::string>;

class ExportTest : public ReviewTest {
 protected:
  ExportArchive exported(const ExportOptions& options, LabelFormat format) {
    auto archive = desk_->export_labels(options, format);
    if (archive) return std::move(*archive);
    ADD_FAILURE() << archive.error().message;
    return {};
  }
  json coco(const ExportOptions& options = {}) {
    const Files files = unzip(exported(options, LabelFormat::coco).zip);
    return json::parse(files.at("annotations.json"));
  }
  void decide(std::int64_t id, Verdict decision,
              std::optional<std::vector<ReviewLabel>> labels = {}) {
    const auto kept = desk_->decide(
        id, {.decision = decision, .by = "anna", .labels = std::move(labels), .replace = true});
    ASSERT_TRUE(kept) << kept.error().message;
  }
  std::string stored_png(std::int64_t id, const std::string& role) {
    const auto png = desk_->picture(id, role);
    if (!png) return {};
    return {reinterpret_cast<const char*>(png->data()), png->size()};
  }
};

// A reject with labels, one whose recorded detection was confirmed, and a pass.
class ThreeDecisions : public ExportTest {
 protected:
  void SetUp() override {
    write("pcb", 41);
    write("pcb", 42, Verdict::reject);
    write("pcb", 43);
    decide(1, Verdict::reject, {{{"short", {2, 4, 12.5F, 44}}, {"open", {0, 0, 64, 48}}}});
    decide(2, Verdict::reject);
    decide(3, Verdict::pass);
  }
};

TEST_F(ThreeDecisions, CocoFieldByField) {
  const ExportArchive archive = exported({}, LabelFormat::coco);
  EXPECT_EQ(archive.images, 3);
  EXPECT_EQ(archive.labels, 3);
  EXPECT_EQ(archive.without_picture, 0);
  EXPECT_EQ(archive.last, 3);
  EXPECT_FALSE(archive.more);
  const Files files = unzip(archive.zip);
  ASSERT_EQ(files.size(), 4U);
  EXPECT_EQ(files.at("images/pcb-00000041.png"), stored_png(1, "board"));

  const json document = json::parse(files.at("annotations.json"));
  EXPECT_EQ(document.at("categories"), json::parse(R"([
      {"id": 1, "name": "short", "supercategory": "defect"},
      {"id": 2, "name": "open", "supercategory": "defect"}])"));
  EXPECT_TRUE(document.at("info").is_object());
  EXPECT_TRUE(document.at("licenses").is_array());
  const json& images = document.at("images");
  ASSERT_EQ(images.size(), 3U);
  EXPECT_EQ(images.at(0), json::parse(R"({"id": 1, "file_name": "pcb-00000041.png", "width": 64,
      "height": 48, "date_captured": "2023-11-14 22:13:20", "line": "pcb", "seq": 41,
      "part_id": "part-41", "role": "board", "verdict": "review", "decision": "reject",
      "decided_by": "anna", "labels_from": "reviewer"})"));
  EXPECT_EQ(images.at(1).at("labels_from"), "recorded");
  EXPECT_EQ(images.at(2).at("labels_from"), "none");
  EXPECT_EQ(images.at(2).at("decision"), "pass");
  EXPECT_EQ(document.at("annotations"), json::parse(R"([
      {"id": 100001, "image_id": 1, "category_id": 1, "bbox": [2.0, 4.0, 10.5, 40.0], "area": 420.0,
       "segmentation": [], "iscrowd": 0},
      {"id": 100002, "image_id": 1, "category_id": 2, "bbox": [0.0, 0.0, 64.0, 48.0], "area": 3072.0,
       "segmentation": [], "iscrowd": 0},
      {"id": 200001, "image_id": 2, "category_id": 2, "bbox": [10.0, 20.5, 20.0, 19.75], "area": 395.0,
       "segmentation": [], "iscrowd": 0}])"));
}

TEST_F(ThreeDecisions, YoloParsedBack) {
  const ExportArchive archive = exported({}, LabelFormat::yolo);
  const Files files = unzip(archive.zip);
  ASSERT_EQ(files.size(), 8U);
  EXPECT_EQ(files.at("classes.txt"), "short\nopen\n");
  EXPECT_EQ(files.at("labels/pcb-00000043.txt"), "") << "a negative example";
  EXPECT_EQ(files.at("images/pcb-00000043.png"), stored_png(3, "board"));
  EXPECT_EQ(files.at("labels/pcb-00000042.txt"), "1 0.312500 0.632812 0.312500 0.411458\n");

  const std::vector<std::pair<int, Box>> expected{{0, {2, 4, 12.5F, 44}}, {1, {0, 0, 64, 48}}};
  std::istringstream lines(files.at("labels/pcb-00000041.txt"));
  for (const auto& [index, box] : expected) {
    int read_index = -1;
    double x = 0;
    double y = 0;
    double width = 0;
    double height = 0;
    lines >> read_index >> x >> y >> width >> height;
    ASSERT_TRUE(lines);
    EXPECT_EQ(read_index, index);
    EXPECT_NEAR((x - width / 2) * kBoardWidth, static_cast<double>(box.x1), 1e-4);
    EXPECT_NEAR((y - height / 2) * kBoardHeight, static_cast<double>(box.y1), 1e-4);
    EXPECT_NEAR((x + width / 2) * kBoardWidth, static_cast<double>(box.x2), 1e-4);
    EXPECT_NEAR((y + height / 2) * kBoardHeight, static_cast<double>(box.y2), 1e-4);
  }
  std::string rest;
  EXPECT_FALSE(lines >> rest);
  EXPECT_THAT(files.at("data.yaml"), HasSubstr("\ntrain: images\nval: images\nnc: 2\nnames:\n"
                                               "  0: \"short\"\n  1: \"open\"\n"));
}

TEST_F(ThreeDecisions, TheSameDecisionsGiveTheSameBytes) {
  for (const LabelFormat format : {LabelFormat::coco, LabelFormat::yolo}) {
    EXPECT_EQ(exported({}, format).zip, exported({}, format).zip);
  }
}

TEST_F(ThreeDecisions, OptionsNarrowWhatIsExported) {
  write("other", 1);
  decide(4, Verdict::pass);
  EXPECT_EQ(coco({.line = "other"}).at("images").size(), 1U);
  EXPECT_EQ(coco({.decision = Verdict::pass}).at("images").size(), 2U);
  const json of_task = coco({.task = "elsewhere"});
  EXPECT_EQ(of_task.at("annotations").size(), 2U) << "the person's labels belong to no task";
  EXPECT_EQ(of_task.at("images").size(), 3U);
  const json golden = coco({.role = "golden"});
  EXPECT_EQ(golden.at("images").at(0).at("width"), kBoardWidth / 2);
  EXPECT_EQ(golden.at("annotations").at(1).at("bbox"), json::parse("[0.0, 0.0, 32.0, 48.0]"))
      << "cut off at the edges of a smaller picture";
  EXPECT_EQ(exported({.role = "missing"}, LabelFormat::coco).without_picture, 4);
}

TEST_F(ExportTest, PagesJoinToOneSet) {
  constexpr int kDecisions = 11;
  for (std::uint64_t seq = 1; seq <= kDecisions; ++seq) {
    write("pcb", seq);
    decide(static_cast<std::int64_t>(seq), Verdict::reject,
           {{{seq % 2 == 0 ? "even" : "odd", {1, 1, 2, 2}}}});
  }
  ExportOptions options{.limit = 4};
  std::set<std::int64_t> images;
  std::set<std::int64_t> annotations;
  int pages = 0;
  bool more = true;
  while (more) {
    const ExportArchive archive = exported(options, LabelFormat::coco);
    const json document = json::parse(unzip(archive.zip).at("annotations.json"));
    EXPECT_EQ(document.at("categories").size(), 2U);
    for (const json& image : document.at("images"))
      images.insert(image.at("id").get<std::int64_t>());
    for (const json& annotation : document.at("annotations")) {
      EXPECT_TRUE(annotations.insert(annotation.at("id").get<std::int64_t>()).second);
    }
    options.after = archive.last;
    more = archive.more;
    ++pages;
  }
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(images.size(), std::size_t{kDecisions});
  EXPECT_EQ(annotations.size(), std::size_t{kDecisions});
  const ExportArchive none = exported(options, LabelFormat::yolo);
  EXPECT_FALSE(none.last);
  EXPECT_EQ(none.images, 0);
}

// Somebody who exports every week gets what was decided in the week, old verdicts included.
TEST_F(ThreeDecisions, ALaterExportBringsWhatWasDecidedSince) {
  const std::optional<std::int64_t> last = exported({}, LabelFormat::coco).last;
  decide(1, Verdict::pass);
  const json since = coco({.after = last});
  ASSERT_EQ(since.at("images").size(), 1U);
  EXPECT_EQ(since.at("images").at(0).at("id"), 1);
  EXPECT_EQ(since.at("images").at(0).at("decision"), "pass");
  EXPECT_EQ(coco().at("images").size(), 3U) << "only the newest of each verdict counts";
  EXPECT_EQ(coco().at("categories").at(0).at("name"), "short") << "numbers stay";
}

// Such a picture would teach that the defect is none.
TEST_F(ExportTest, ARejectWithoutOneBoxIsLeftOut) {
  write("pcb", 1);
  VerdictRecord bare = sample_record("pcb", 2, Verdict::review);
  bare.detections.clear();
  write(bare);
  write(sample_record("pcb", 3, Verdict::review), false);
  decide(1, Verdict::reject, std::vector<ReviewLabel>{});
  decide(2, Verdict::reject);
  decide(3, Verdict::pass);
  const ExportArchive archive = exported({}, LabelFormat::yolo);
  EXPECT_EQ(archive.images, 0);
  EXPECT_EQ(archive.without_labels, 2);
  EXPECT_EQ(archive.without_picture, 1);
  EXPECT_EQ(archive.last, 3) << "what was left out isn't looked at again";
  EXPECT_THAT(unzip(archive.zip).at("data.yaml"), HasSubstr("nc: 0\nnames: {}\n"));
}

TEST_F(ExportTest, RecordedDetectionsAreCutOffAtTheEdges) {
  VerdictRecord record = sample_record("pcb", 1, Verdict::review);
  record.detections = {{"open", 0.9F, {-5, -5, 10.004F, 60}, "defects"},
                       {"open", 0.9F, {70, 10, 80, 20}, "defects"},
                       {"open", 0.9F, {20, 20, 20.001F, 30}, "defects"}};
  write(record);
  decide(1, Verdict::reject);
  const json annotations = coco().at("annotations");
  ASSERT_EQ(annotations.size(), 1U) << "nothing is left of the others";
  EXPECT_EQ(annotations.at(0).at("bbox"), json::parse("[0.0, 0.0, 10.0, 48.0]"));
}

TEST_F(ExportTest, AnArchiveBeyondItsBytesIsRefused) {
  for (std::uint64_t seq = 1; seq <= 8; ++seq) {
    write("pcb", seq);
    decide(static_cast<std::int64_t>(seq), Verdict::pass);
  }
  const std::size_t whole = exported({}, LabelFormat::yolo).zip.size();
  open_desk({.path = path(), .export_bytes_max = whole / 2});
  const ReviewError error = refused(desk_->export_labels({}, LabelFormat::yolo));
  EXPECT_EQ(error.code, ReviewCode::too_large);
  EXPECT_THAT(error.message, HasSubstr("lower limit (it is 100)"));
  EXPECT_EQ(exported({.limit = 2}, LabelFormat::yolo).images, 2);
  open_desk({.path = path(), .export_bytes_max = whole});
  EXPECT_EQ(exported({}, LabelFormat::yolo).images, 8);
}

TEST_F(ExportTest, AnExportIsBounded) {
  EXPECT_EQ(refused(desk_->export_labels({.limit = 0}, LabelFormat::coco)).code,
            ReviewCode::invalid);
  EXPECT_EQ(refused(desk_->export_labels({.limit = 1'001}, LabelFormat::coco)).code,
            ReviewCode::invalid);
  EXPECT_EQ(refused(desk_->export_labels({.decision = Verdict::review}, LabelFormat::coco)).code,
            ReviewCode::invalid);
}

TEST_F(ExportTest, HostileNamesBecomePlainFilesAndEscapedTexts) {
  const std::string line = "../../etc/\"passwd\"\n\xff";
  VerdictRecord record = sample_record(line, 5, Verdict::review);
  record.detections[0].class_name = "a\n- b: \"\xff";
  write(record);
  record.line = "______etc__passwd___";
  write(record);
  decide(1, Verdict::reject);
  decide(2, Verdict::reject);
  const Files yolo = unzip(exported({}, LabelFormat::yolo).zip);
  EXPECT_TRUE(yolo.contains("images/______etc__passwd___-00000005.1.png"));
  EXPECT_TRUE(yolo.contains("images/______etc__passwd___-00000005.png"));
  EXPECT_EQ(yolo.size(), 6U);
  EXPECT_EQ(std::ranges::count(yolo.at("classes.txt"), '\n'), 1);
  EXPECT_THAT(yolo.at("data.yaml"), HasSubstr(R"(  0: "a\n- b: \")"));
  EXPECT_EQ(coco().at("images").size(), 2U) << "still JSON";
}

TEST(PictureName, IsOfLineAndNumber) {
  ReviewItem item;
  item.id = 7;
  item.record.line = "pcb-2_a";
  item.record.seq = FrameSeq{123'456'789'012};
  EXPECT_EQ(picture_name(item), "pcb-2_a-123456789012");
  item.record.line = std::string(100, 'x');
  item.record.seq = FrameSeq{1};
  EXPECT_EQ(picture_name(item), std::string(64, 'x') + "-00000001.7");
}

TEST(LabelFormat, HasItsWords) {
  EXPECT_EQ(parse_label_format("coco"), LabelFormat::coco);
  EXPECT_EQ(parse_label_format("yolo"), LabelFormat::yolo);
  EXPECT_FALSE(parse_label_format("YOLO"));
}

}  // namespace
}  // namespace takt::line
