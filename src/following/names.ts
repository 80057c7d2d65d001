/** Who owns the checkpoint `projection:<name>@<version>` of a version that does not follow the log. */
export const inlineOwner = "inline"
export const droppedOwner = "dropped"
