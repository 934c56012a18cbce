// Where a tab keeps which coding session it shows. The page looks there before it loads what can show one.

export const SHOWN = "hadesgw.coding";
