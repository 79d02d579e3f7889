#include "kit/table.hpp"

#include <stdexcept>

#include "support.hpp"

namespace {

using kit::test::error;

TEST(Table, TextIsAlignedLeftAndNumbersRight) {
  kit::Table table({"optimizer", "loss", "accuracy", "time"});
  table.add({"sgd", "0.31", "91.2%", "5 ms"});
  table.add({"adam", "-10.5", "100%", "-"});
  EXPECT_EQ(table.text(),
            "optimizer   loss  accuracy  time\n"
            "---------  -----  --------  ----\n"
            "sgd         0.31     91.2%  5 ms\n"
            "adam       -10.5      100%     -\n");
}

TEST(Table, AColumnWithOneTextIsAlignedLeft) {
  kit::Table table({"value", "b"});
  table.add({"1", "64x8"});
  table.add({"none", ""});
  EXPECT_EQ(table.text(),
            "value  b\n"
            "-----  ----\n"
            "1      64x8\n"
            "none\n");
}

TEST(Table, ATableWithoutRowsIsItsHeader) { EXPECT_EQ(kit::Table({"a", "bb"}).text(), "a  bb\n-  --\n"); }

TEST(Table, ARowOfAnotherLengthIsRefused) {
  kit::Table table({"a", "b"});
  EXPECT_EQ(error<std::invalid_argument>([&] { table.add({"1"}); }),
            "table: a row of 1 cells was added, but there are 2 headers");
}

}  // namespace
