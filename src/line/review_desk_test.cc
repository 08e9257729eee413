// SPDX-License-Identifier: Apache-2.0
#include "line/review_desk.h"

#include "line/record_json.h"
#include "line/review_fixture.h"
#include "line/review_query.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <limits>
#include <set>
#include <thread>

namespace takt::line {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::int64_t> ids(const ReviewResult<ReviewPage>& page) {
  std::vector<std::int64_t> out;
  if (!page) ADD_FAILURE() << page.error().message;
  if (page) {
    for (const ReviewItem& item : page->items) out.push_back(item.id);
  }
  return out;
}

// The ids of all pages.
std::vector<std::int64_t> walk(const ReviewDesk& desk, ReviewFilter filter) {
  std::vector<std::int64_t> out;
  while (true) {
    const auto page = desk.list(filter);
    const std::vector<std::int64_t> some = ids(page);
    EXPECT_LE(some.size(), static_cast<std::size_t>(filter.limit));
    out.insert(out.end(), some.begin(), some.end());
    if (!page || !page->next) return out;
    filter.after = page->next;
  }
}

ReviewDecision reject(std::vector<ReviewLabel> labels) {
  return {.decision = Verdict::reject, .by = "anna", .labels = std::move(labels)};
}

// Of the record, as its own JSON: the store gives back what it was given, in microseconds.
TEST_F(ReviewTest, AnItemHasAllThatTheStoreKeepsOfAVerdict) {
  VerdictRecord written = sample_record("pcb", 7, Verdict::review);
  write(written);
  const auto page = desk_->list({});
  ASSERT_THAT(ids(page), ElementsAre(1));
  const ReviewItem& item = page->items.front();

  written.truth_known = false;  // the store keeps neither the truth nor who stood in
  for (TaskReport& task : written.tasks) task.stand_in.reset();
  std::ranges::sort(written.tasks, {}, &TaskReport::task);
  EXPECT_EQ(to_json(item.record), to_json(written));

  ASSERT_EQ(item.pictures.size(), 2U);
  EXPECT_EQ(item.pictures[0].role, "board");
  EXPECT_EQ(item.pictures[0].width, kBoardWidth);
  EXPECT_EQ(item.pictures[0].height, kBoardHeight);
  EXPECT_EQ(item.pictures[1].role, "golden");
  EXPECT_FALSE(item.review);
  EXPECT_FALSE(page->next);
  EXPECT_EQ(to_json(desk_->item(1)->record), to_json(item.record));
}

TEST_F(ReviewTest, APictureIsWhatTheStoreKeeps) {
  write("pcb", 1);
  const auto png = desk_->picture(1, "golden");
  ASSERT_TRUE(png);
  const auto item = desk_->item(1);
  ASSERT_TRUE(item);
  EXPECT_EQ(static_cast<std::int64_t>(png->size()), item->pictures[1].png_bytes);
  EXPECT_EQ(static_cast<char>(png->at(1)), 'P');
  EXPECT_EQ(refused(desk_->picture(1, "../board")).code, ReviewCode::not_found);
  EXPECT_EQ(refused(desk_->picture(2, "board")).code, ReviewCode::not_found);
  EXPECT_EQ(refused(desk_->picture(-1, std::string(1 << 20, '\xff'))).code, ReviewCode::not_found);
}

TEST_F(ReviewTest, AFilterNamesLineVerdictStatePartAndTime) {
  write("a", 1, Verdict::review);  // ids in this order
  write("b", 1, Verdict::review);
  write("a", 2, Verdict::reject);
  write("a", 3, Verdict::pass);
  write("a", 4, Verdict::review);
  ASSERT_TRUE(desk_->decide(5, {.decision = Verdict::pass, .by = "anna"}));

  EXPECT_THAT(ids(desk_->list({})), ElementsAre(1, 2, 5));
  EXPECT_THAT(ids(desk_->list({.line = "a"})), ElementsAre(1, 5));
  EXPECT_THAT(ids(desk_->list({.line = "nowhere"})), IsEmpty());
  EXPECT_THAT(ids(desk_->list({.verdicts = {Verdict::reject}})), ElementsAre(3));
  EXPECT_THAT(ids(desk_->list({.verdicts = {Verdict::reject, Verdict::review}})),
              ElementsAre(1, 2, 3, 5));
  EXPECT_THAT(ids(desk_->list({.decided = false})), ElementsAre(1, 2));
  EXPECT_THAT(ids(desk_->list({.decided = true})), ElementsAre(5));
  EXPECT_THAT(ids(desk_->list({.part_id = "part-1"})), ElementsAre(1, 2));
  EXPECT_THAT(ids(desk_->list({.line = "b", .part_id = "part-1"})), ElementsAre(2));
  const std::int64_t captured = sample_record("a", 2).captured_wall_us;
  EXPECT_THAT(ids(desk_->list({.captured_from_us = captured})), ElementsAre(5));
  EXPECT_THAT(ids(desk_->list({.captured_until_us = captured})), ElementsAre(1, 2));
  EXPECT_THAT(ids(desk_->list({.captured_from_us = captured, .captured_until_us = captured})),
              IsEmpty());
}

// Passes nobody waits for are most of the store.
TEST_F(ReviewTest, APassIsListedOnceItIsDecidedOrForItsPart) {
  write("a", 1, Verdict::pass);
  write("a", 2, Verdict::pass);
  ASSERT_TRUE(desk_->decide(2, reject({{"open", {1, 1, 2, 2}}})));
  EXPECT_THAT(ids(desk_->list({.verdicts = {Verdict::pass}})), ElementsAre(2));
  EXPECT_THAT(ids(desk_->list({.verdicts = {Verdict::pass}, .part_id = "part-1"})), ElementsAre(1));
}

TEST_F(ReviewTest, PagesGiveEachItemOnceInBothOrders) {
  std::vector<std::int64_t> all;
  for (std::uint64_t seq = 1; seq <= 23; ++seq) {
    write(sample_record(seq % 2 == 0 ? "a" : "b", seq,
                        seq % 3 == 0 ? Verdict::reject : Verdict::review),
          false);
    all.push_back(static_cast<std::int64_t>(seq));
  }
  for (const std::int64_t id : {2, 3, 11}) {
    ASSERT_TRUE(desk_->decide(id, {.decision = Verdict::pass, .by = "anna"}));
  }
  ReviewFilter filter{.verdicts = {Verdict::reject, Verdict::review}, .limit = 4};
  EXPECT_EQ(walk(*desk_, filter), all);
  filter.order = ReviewOrder::newest_first;
  std::ranges::reverse(all);
  EXPECT_EQ(walk(*desk_, filter), all);
  filter.limit = 23;
  EXPECT_FALSE(desk_->list(filter)->next) << "a page that is just full is the last";
}

TEST_F(ReviewTest, AListIsBounded) {
  EXPECT_THAT(refused(desk_->list({.limit = 0})).message, HasSubstr("1 to 500, got 0"));
  EXPECT_EQ(refused(desk_->list({.limit = 501})).code, ReviewCode::invalid);
  EXPECT_EQ(refused(desk_->list({.verdicts = {}})).code, ReviewCode::invalid);
  EXPECT_EQ(refused(desk_->list({.line = std::string(1'001, 'x')})).code, ReviewCode::invalid);
}

std::string plan(SQLite::Database& db, const std::string& sql) {
  std::string steps;
  SQLite::Statement rows(db, "EXPLAIN QUERY PLAN " + sql);
  while (rows.executeStep()) steps += rows.getColumn(3).getString() + "\n";
  return steps;
}

// Millions of verdicts may lie in the store.
TEST_F(ReviewTest, EveryStatementSearchesAnIndexInItsOrder) {
  SQLite::Database db(path().string());
  const std::set<Verdict> all{Verdict::pass, Verdict::review, Verdict::reject};
  for (const bool line : {false, true}) {
    for (const bool part : {false, true}) {
      for (const bool time : {false, true}) {
        for (const bool after : {false, true}) {
          ReviewFilter filter{.verdicts = all};
          if (line) filter.line = "pcb";
          if (part) filter.part_id = "7";
          if (time) filter.captured_from_us = filter.captured_until_us = 5;
          if (after) filter.after = 9;
          for (const ReviewOrder order : {ReviewOrder::oldest_first, ReviewOrder::newest_first}) {
            filter.order = order;
            for (const ReviewQuery& query : verdict_queries(filter)) {
              const std::string steps = plan(db, query.sql);
              EXPECT_THAT(steps, ::testing::StartsWith("SEARCH verdicts USING ")) << query.sql;
              EXPECT_EQ(std::ranges::count(steps, '\n'), 1) << query.sql << '\n' << steps;
            }
          }
        }
      }
    }
  }
  const std::string steps =
      plan(db, decision_query({.line = "pcb", .decision = Verdict::pass, .after = 3}).sql);
  EXPECT_THAT(steps, ::testing::StartsWith("SEARCH r USING INTEGER PRIMARY KEY")) << steps;
  EXPECT_THAT(steps, ::testing::Not(HasSubstr("SCAN"))) << steps;
  EXPECT_THAT(steps, ::testing::Not(HasSubstr("TEMP B-TREE"))) << steps;
}

TEST_F(ReviewTest, ADecisionIsKeptWithItsLabels) {
  write("pcb", 1);
  const std::vector<ReviewLabel> labels{{"open", {1.5F, 2, 10, 12.25F}},
                                        {"Kurzschluß", {0, 0, 64, 48}}};
  const auto kept = desk_->decide(
      1, {.decision = Verdict::reject, .by = "Änne", .note = "two\nlines", .labels = labels});
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(kept->decided_us, clock_.wall_time_us());
  const auto item = desk_->item(1);
  ASSERT_TRUE(item && item->review);
  EXPECT_EQ(item->review->id, kept->id);
  EXPECT_EQ(item->review->decision, Verdict::reject);
  EXPECT_EQ(item->review->by, "Änne");
  EXPECT_EQ(item->review->note, "two\nlines");
  EXPECT_EQ(item->review->labels, labels);
  EXPECT_EQ(item->review->earlier, 0);
  EXPECT_EQ(item->record.verdict, Verdict::review) << "what the line said stays";
}

// "None was drawn" confirms the recorded detections, "none is right" doesn't.
TEST_F(ReviewTest, NoLabelsAndAnEmptyListAreTwoThings) {
  write("pcb", 1);
  write("pcb", 2);
  ASSERT_TRUE(desk_->decide(1, {.decision = Verdict::reject, .by = "anna"}));
  ASSERT_TRUE(desk_->decide(2, reject({})));
  EXPECT_FALSE(desk_->item(1)->review->labels);
  EXPECT_TRUE(desk_->item(2)->review->labels);
}

TEST_F(ReviewTest, DecidingAgainIsRefusedUnlessItReplacesAndEveryDecisionStays) {
  write("pcb", 1);
  ASSERT_TRUE(desk_->decide(1, reject({{"open", {1, 1, 2, 2}}})));
  const ReviewError error = refused(desk_->decide(1, {.decision = Verdict::pass, .by = "bert"}));
  EXPECT_EQ(error.code, ReviewCode::decided);
  EXPECT_THAT(error.message, HasSubstr("anna has decided reject"));

  const auto second =
      desk_->decide(1, {.decision = Verdict::pass, .by = "bert", .note = "dust", .replace = true});
  ASSERT_TRUE(second);
  EXPECT_EQ(second->earlier, 1);
  EXPECT_EQ(desk_->item(1)->review->by, "bert");
  const auto all = desk_->decisions(1);
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 2U);
  EXPECT_EQ(all->at(0).id, second->id);
  EXPECT_EQ(all->at(1).by, "anna");
  EXPECT_EQ(all->at(1).decision, Verdict::reject);
  EXPECT_EQ(all->at(1).labels->size(), 1U);
  EXPECT_EQ(all->at(1).earlier, 0);
  EXPECT_THAT(ids(desk_->list({.decided = true})), ElementsAre(1)) << "once, with the newest";
}

TEST_F(ReviewTest, TheNumberOfDecisionsAndClassesIsBounded) {
  open_desk({.path = path(), .decisions_max = 2, .classes_max = 2});
  write("pcb", 1);
  write("pcb", 2);
  ReviewDecision decision = reject({{"open", {1, 1, 2, 2}}, {"short", {1, 1, 2, 2}}});
  decision.replace = true;
  ASSERT_TRUE(desk_->decide(1, decision));
  ASSERT_TRUE(desk_->decide(1, decision));
  EXPECT_EQ(refused(desk_->decide(1, decision)).code, ReviewCode::invalid);
  const ReviewError error = refused(desk_->decide(2, reject({{"spur", {1, 1, 2, 2}}})));
  EXPECT_EQ(error.code, ReviewCode::invalid);
  EXPECT_THAT(error.message, HasSubstr("class 'spur' is new"));
  EXPECT_EQ(count("classes"), 2) << "what is refused leaves nothing behind";
  EXPECT_EQ(count("verdicts WHERE decided = 1"), 1);
}

TEST_F(ReviewTest, ADecisionThatCanNotBeMeantIsRefusedWithItsField) {
  open_desk({.path = path(), .labels_max = 3});
  write("pcb", 1);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const auto by = [](std::string name) { return ReviewDecision{.by = std::move(name)}; };
  const auto note = [](std::string text) {
    return ReviewDecision{.by = "anna", .note = std::move(text)};
  };
  const auto box = [](Box edges) { return reject({{"open", {1, 1, 2, 2}}, {"open", edges}}); };
  const auto name = [](std::string text) { return reject({{std::move(text), {1, 1, 2, 2}}}); };
  const std::vector<std::pair<ReviewDecision, std::string>> cases{
      {{.decision = Verdict::review, .by = "anna"}, "decision: expected pass or reject"},
      {by(""), "by: "},
      {by(" "), "by: "},
      {by(std::string(201, 'x')), "by: 201 bytes; expected at most 200"},
      {by("a\nb"), "by: "},
      {by("\xc3"), "by: not UTF-8"},
      {note(std::string(4'001, 'x')), "note: "},
      {note(std::string("a\0b", 3)), "note: "},
      {note("\xed\xa0\x80"), "note: "},
      {{.decision = Verdict::pass, .by = "anna", .labels = {{{"open", {1, 1, 2, 2}}}}}, "labels: "},
      {reject(std::vector<ReviewLabel>(4, {"open", {1, 1, 2, 2}})), "labels: 4 of them"},
      {name(""), "labels[0].class: "},
      {name(std::string(101, 'x')), "labels[0].class: "},
      {name("open\n"), "labels[0].class: "},
      {name("\xff"), "labels[0].class: "},
      {box({kNan, 1, 2, 2}), "labels[1].box: expected finite"},
      {box({1, 1, kInfinity, 2}), "labels[1].box: expected finite"},
      {box({-1, 1, 2, 2}), "labels[1].box: "},
      {box({2, 1, 2, 2}), "labels[1].box: expected x1 < x2"},
      {box({1, 3, 2, 2}), "labels[1].box: "},
      {box({1, 1, 64.5F, 2}), "labels[1].box: reaches outside the picture of 64 x 48"},
      {box({1, 1, 2, 49}), "labels[1].box: "},
  };
  for (const auto& [decision, message] : cases) {
    const ReviewError error = refused(desk_->decide(1, decision));
    EXPECT_EQ(error.code, ReviewCode::invalid) << error.message;
    EXPECT_THAT(error.message, ::testing::StartsWith(message));
  }
  EXPECT_EQ(count("reviews"), 0);
  EXPECT_EQ(count("classes"), 0);
}

TEST_F(ReviewTest, TextsGoIntoTheStoreAsTheyAre) {
  const std::string hostile = "'; DROP TABLE verdicts; --";
  VerdictRecord record = sample_record(hostile, 1, Verdict::review);
  record.part_id = hostile;
  write(record);
  ASSERT_TRUE(
      desk_->decide(1, {.by = hostile, .note = hostile, .labels = {{{hostile, {1, 1, 2, 2}}}}}));
  const auto page = desk_->list({.line = hostile, .part_id = hostile});
  ASSERT_THAT(ids(page), ElementsAre(1));
  EXPECT_EQ(page->items[0].review->labels->front().class_name, hostile);
}

TEST_F(ReviewTest, AVerdictThatIsNotThereCanNotBeDecided) {
  for (const std::int64_t id :
       {std::int64_t{1}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_EQ(refused(desk_->decide(id, {.by = "anna"})).code, ReviewCode::not_found);
    EXPECT_EQ(refused(desk_->item(id)).code, ReviewCode::not_found);
    EXPECT_EQ(refused(desk_->decisions(id)).code, ReviewCode::not_found);
  }
}

class SmallStore : public ReviewTest {
 protected:
  SmallStore() : ReviewTest({.path = {}, .verdicts_max = 3}) {}
};

TEST_F(SmallStore, WhatTheStoreRemovesTakesItsDecisionsAlongAndNoIdComesAgain) {
  for (std::uint64_t seq = 1; seq <= 3; ++seq) write("pcb", seq);
  const auto first = desk_->decide(1, reject({{"open", {1, 1, 2, 2}}}));
  ASSERT_TRUE(first);
  write("pcb", 4);
  EXPECT_EQ(count("reviews"), 0);
  EXPECT_EQ(count("review_labels"), 0);
  EXPECT_EQ(count("classes"), 1) << "the numbers of categories outlive what they were used for";
  EXPECT_EQ(refused(desk_->item(1)).code, ReviewCode::not_found);
  EXPECT_THAT(ids(desk_->list({})), ElementsAre(2, 3, 4));
  EXPECT_GT(desk_->decide(2, {.by = "anna"})->id, first->id);
}

TEST_F(ReviewTest, OfTwoPeopleAtOnceOneDecides) {
  write("pcb", 1);
  std::atomic<int> decided{0};
  std::atomic<int> noticed{0};
  std::vector<std::jthread> people;
  people.reserve(4);
  for (int i = 0; i < 4; ++i) {
    people.emplace_back([&] {
      const auto said = desk_->decide(1, {.by = "anna"});
      if (said) ++decided;
      if (!said && said.error().code == ReviewCode::decided) ++noticed;
    });
  }
  people.clear();
  EXPECT_EQ(decided, 1);
  EXPECT_EQ(noticed, 3);
}

// The writer's transactions and the desk's meet; neither fails.
TEST_F(ReviewTest, TheStoreWritesWhilePeopleDecideListAndExport) {
  constexpr std::int64_t kVerdicts = 400;
  for (std::uint64_t seq = 1; seq <= kVerdicts; ++seq) {
    write(sample_record("old", seq, Verdict::review), seq % 4 == 0);
  }
  std::atomic<int> refusals{0};
  std::vector<std::jthread> people;
  people.reserve(3);
  for (std::int64_t person = 0; person < 2; ++person) {
    people.emplace_back([&, person] {
      for (std::int64_t id = 1 + person; id <= kVerdicts; id += 2) {
        if (!desk_->decide(id, reject({{"open", {1, 1, 2, 2}}}))) ++refusals;
        if (!desk_->list({.decided = false, .limit = 5})) ++refusals;
      }
    });
  }
  people.emplace_back([&] {
    for (int i = 0; i < 10; ++i) {
      if (!desk_->export_labels({}, LabelFormat::coco)) ++refusals;
    }
  });
  for (std::uint64_t seq = 1; seq <= kVerdicts; ++seq)
    write(sample_record("new", seq), seq % 4 == 0);
  people.clear();
  EXPECT_EQ(refusals, 0);
  EXPECT_EQ(store_->counts().failures, 0U);
  EXPECT_EQ(count("verdicts"), 2 * kVerdicts);
  EXPECT_EQ(count("reviews"), kVerdicts);
  EXPECT_EQ(count("verdicts WHERE decided = 1"), kVerdicts);
}

TEST_F(ReviewTest, AStoreThatIsHeldIsUnavailableForAMoment) {
  write("pcb", 1);
  open_desk({.path = path(), .busy_timeout = std::chrono::milliseconds(1)});
  {
    SQLite::Database other(path().string(), SQLite::OPEN_READWRITE);
    other.exec("BEGIN IMMEDIATE");
    const ReviewError error = refused(desk_->decide(1, {.by = "anna"}));
    EXPECT_EQ(error.code, ReviewCode::unavailable);
    EXPECT_THAT(error.message, HasSubstr("try again"));
    EXPECT_THAT(ids(desk_->list({})), ElementsAre(1)) << "reading waits for nobody";
    other.exec("ROLLBACK");
  }
  EXPECT_TRUE(desk_->decide(1, {.by = "anna"}));
}

TEST_F(ReviewTest, RowsThatNoTaktHasWrittenAreDamaged) {
  write("pcb", 1);
  for (const char* change : {"verdict = 'review', reasons = 'no list'", "reasons = '[1]'",
                             "reasons = '[]', verdict = 'maybe'"}) {
    execute(std::string("UPDATE verdicts SET ") + change);
    EXPECT_EQ(refused(desk_->item(1)).code, ReviewCode::damaged) << change;
    EXPECT_EQ(refused(desk_->decide(1, {.by = "anna"})).code, ReviewCode::damaged) << change;
  }
  execute("DROP TABLE tasks");
  EXPECT_EQ(refused(desk_->item(1)).code, ReviewCode::damaged);
}

TEST_F(ReviewTest, LimitsOutOfRangeAreRefused) {
  for (const ReviewDeskOptions& options : {ReviewDeskOptions{.path = path(), .decisions_max = 0},
                                           ReviewDeskOptions{.path = path(), .labels_max = 10'001},
                                           ReviewDeskOptions{.path = path(), .classes_max = 0}}) {
    const auto desk = ReviewDesk::open(options, clock_);
    ASSERT_FALSE(desk);
    EXPECT_EQ(desk.error().kind, ErrorKind::invalid_input);
  }
}

TEST(ReviewDesk, WhatIsNoStoreOfThisTaktIsRefusedWithoutItsPath) {
  const TemporaryDirectory directory;
  const SystemClock clock;
  const auto refusal = [&](const std::string& name) {
    const auto desk = ReviewDesk::open({.path = directory.path() / name}, clock);
    if (desk) {
      ADD_FAILURE() << name;
      return Error{};
    }
    EXPECT_EQ(desk.error().message.find(directory.path().string()), std::string::npos);
    return desk.error();
  };
  EXPECT_EQ(refusal("missing.sqlite").kind, ErrorKind::unavailable);
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "missing.sqlite"));
  std::ofstream(directory.path() / "notes.txt") << std::string(4096, 'x');
  EXPECT_EQ(refusal("notes.txt").kind, ErrorKind::invalid_input);
  SQLite::Database((directory.path() / "old.sqlite").string(),
                   SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE)
      .exec("PRAGMA user_version = 1");
  EXPECT_THAT(refusal("old.sqlite").message, HasSubstr("schema is 1, expected 2"));
}

}  // namespace
}  // namespace takt::line
