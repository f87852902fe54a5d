//! Tables of a report, declared by column.

/// A table for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Names of the columns, with units.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

/// A column: its name with the unit, and what it says of an item.
pub type Column<'a, T> = (&'a str, &'a dyn Fn(&T) -> String);

impl Table {
    /// A table with a row for each item.
    pub fn of<T>(
        title: impl Into<String>,
        items: impl IntoIterator<Item = T>,
        columns: &[Column<'_, T>],
    ) -> Self {
        let row = |item: T| columns.iter().map(|(_, cell)| cell(&item)).collect();
        Self {
            title: title.into(),
            head: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
            rows: items.into_iter().map(row).collect(),
        }
    }

    /// A table with a row and a column for each name, and a cell for each pair of them.
    pub fn crossed<R: AsRef<str>, C>(
        title: impl Into<String>,
        corner: &str,
        rows: &[R],
        columns: &[C],
        name: impl Fn(&C) -> String,
        cell: impl Fn(&R, &C) -> String,
    ) -> Self {
        let row = |row: &R| {
            let cells = columns.iter().map(|column| cell(row, column));
            [row.as_ref().to_owned()].into_iter().chain(cells).collect()
        };
        Self {
            title: title.into(),
            head: [corner.to_owned()]
                .into_iter()
                .chain(columns.iter().map(name))
                .collect(),
            rows: rows.iter().map(row).collect(),
        }
    }
}

/// `yes` or `no`.
pub fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

/// What stands where nothing was measured.
pub fn or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_item_and_a_cell_for_each_column() {
        let table = Table::of(
            "Sums",
            [(1, true), (2, false)],
            &[
                ("number", &|(number, _)| number.to_string()),
                ("odd", &|(_, odd)| yes(*odd)),
            ],
        );
        assert_eq!(table.head, ["number", "odd"]);
        assert_eq!(table.rows, [["1", "yes"], ["2", "no"]]);
        let crossed = Table::crossed(
            "Products",
            "factor",
            &["2", "3"],
            &[1, 10],
            |by| format!("by {by}"),
            |row, by| (row.parse::<i32>().unwrap() * by).to_string(),
        );
        assert_eq!(crossed.head, ["factor", "by 1", "by 10"]);
        assert_eq!(crossed.rows, [["2", "2", "20"], ["3", "3", "30"]]);
        assert_eq!(or_dash(None::<u32>, |_| String::new()), "-");
    }
}
