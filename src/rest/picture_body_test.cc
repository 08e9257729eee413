// SPDX-License-Identifier: Apache-2.0
#include "rest/picture_body.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace takt::rest {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string> kRoles{"board", "golden"};
const std::vector<std::string> kFields{"part_id"};
const std::string kForm = "multipart/form-data; boundary=xyz";

std::string part(const std::string& name, const std::string& content) {
  return "--xyz\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + content +
         "\r\n";
}
const std::string kEnd = "--xyz--\r\n";

std::string text_of(const line::EncodedImage& image) {
  return {reinterpret_cast<const char*>(image.bytes.data()), image.bytes.size()};
}

std::string error_of(const std::string& type, const std::string& body) {
  const auto read = read_pictures(type, body, kRoles, kFields);
  if (read) return "read";
  EXPECT_EQ(read.error().code, server::ApiCode::invalid_argument);
  return read.error().message;
}

TEST(PictureBody, ABodyThatIsNoFormIsTheFirstRolesPicture) {
  for (const char* type : {"", "image/png", "IMAGE/JPEG; q=1", "application/octet-stream"}) {
    const std::string body = "pixels";
    const auto read = read_pictures(type, body, kRoles, kFields);
    ASSERT_TRUE(read.has_value()) << type;
    ASSERT_EQ(read->images.size(), 1U);
    EXPECT_EQ(read->images[0].role, "board");
    EXPECT_EQ(text_of(read->images[0]), "pixels");
  }
}

TEST(PictureBody, AFormHasAPartForEachPictureAndField) {
  const std::string body = part("golden", std::string("g\0\r\n--xy", 8)) + part("board", "b") +
                           part("part_id", "7") + kEnd;
  const auto read = read_pictures(kForm, body, kRoles, kFields);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  ASSERT_EQ(read->images.size(), 2U);
  EXPECT_EQ(text_of(read->images[0]), std::string("g\0\r\n--xy", 8));
  EXPECT_EQ(text_of(read->images[1]), "b");
  EXPECT_EQ(read->fields.at("part_id"), "7");
}

TEST(PictureBody, FormsAreReadAsClientsWriteThem) {
  // A preamble, white space behind the boundary, a quoted boundary, other headers and names.
  const std::string body =
      "hello\r\n--a b\r\ncontent-type: image/png\r\n"
      "CONTENT-DISPOSITION: form-data; filename=\"a;name=x\\\".png\"; name=board\r\n\r\n1\r\n--a "
      "b--";
  const auto read =
      read_pictures("Multipart/Form-Data; charset=x; boundary=\"a b\"", body, kRoles, kFields);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->images.at(0).role, "board");
  EXPECT_EQ(text_of(read->images.at(0)), "1");
}

TEST(PictureBody, WhatIsWrongIsSaid) {
  EXPECT_THAT(error_of("text/html", "x"), HasSubstr("expected image/png"));
  EXPECT_THAT(error_of("image/png", ""), HasSubstr("empty"));
  EXPECT_THAT(error_of("multipart/form-data", "x"), HasSubstr("boundary"));
  EXPECT_THAT(error_of("multipart/form-data; boundary=" + std::string(71, 'x'), "x"),
              HasSubstr("1 to 70"));
  EXPECT_THAT(error_of(kForm, "x"), HasSubstr("isn't there"));
  EXPECT_THAT(error_of(kForm, kEnd), HasSubstr("expected the parts board, golden"));
  EXPECT_THAT(error_of(kForm, part("board", "") + kEnd), HasSubstr("'board' is empty"));
  EXPECT_THAT(error_of(kForm, part("board", "1")), HasSubstr("last boundary"));
  EXPECT_THAT(error_of(kForm, part("board", "1") + part("board", "2") + kEnd), HasSubstr("twice"));
  EXPECT_THAT(error_of(kForm, part("bord", "1") + kEnd), HasSubstr("did you mean 'board'"));
  EXPECT_THAT(error_of(kForm, part("board", "1") + part("part_id", std::string(1025, 'x')) + kEnd),
              HasSubstr("at most 1024"));
  EXPECT_THAT(error_of(kForm, "--xyz\r\nContent-Type: a/b\r\n\r\n1\r\n" + kEnd),
              HasSubstr("without a name"));
  EXPECT_THAT(error_of(kForm, "--xyz\r\nnothing\r\n\r\n1\r\n" + kEnd), HasSubstr("without ':'"));
  EXPECT_THAT(error_of(kForm, "--xyz\r\nContent-Disposition: x"), HasSubstr("within its headers"));
  EXPECT_THAT(error_of(kForm, "--xyz and more\r\n"), HasSubstr("behind a boundary"));
}

TEST(PictureBody, PartsAreBounded) {
  std::string body;
  for (std::size_t i = 0; i <= kPartsMax; ++i) body += part("board", "1");
  EXPECT_THAT(error_of(kForm, body + kEnd), HasSubstr("more than 32 parts"));
}

}  // namespace
}  // namespace takt::rest
